"""Kinds of layers, without a Keras."""

import pytest

from tf_earlyticket.backends.layer_kinds import matrix_shape


@pytest.mark.parametrize(
    ("equation", "shape", "expected"),
    [
        ("abc,cde->abde", (16, 2, 8), (16, 16)),
        ("abcd,cde->abe", (2, 8, 16), (16, 16)),
        ("...x,xy->...y", (4, 5), (4, 5)),
        # Transposed; of each head its own; a product of single numbers.
        ("abc,dc->abd", (5, 4), None),
        ("abc,acd->abd", (3, 4, 5), None),
        ("ab,b->ab", (4,), None),
    ],
)
def test_kernels_of_einsums_are_matrices(equation, shape, expected):
    assert matrix_shape(equation, shape) == expected
