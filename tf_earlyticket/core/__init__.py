"""What the paper defines, as functions of NumPy arrays and integers. Knows no Keras."""
