"""The paper's figures and tables, one file each, and the studies beside them."""

# Each enters its item in `item.ITEMS`, in this order.
from tf_earlyticket.paper import (  # noqa: F401
    fig1,
    fig2,
    fig3,
    fig4,
    fig5,
    fig6,
    fig8,
    table1,
    table2,
    table3,
    table4,
    table5,
)
