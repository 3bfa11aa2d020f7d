"""The figures and the HTML page of a run, from plain Python data. Knows no Keras."""
