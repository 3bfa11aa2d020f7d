"""The paper's figures and tables, one file each, and the studies beside them."""

from tf_earlyticket.paper.fig1 import Fig1
from tf_earlyticket.paper.fig2 import Fig2
from tf_earlyticket.paper.fig3 import Fig3
from tf_earlyticket.paper.fig4 import Fig4, Fig6
from tf_earlyticket.paper.fig5 import Fig5
from tf_earlyticket.paper.fig8 import Fig8
from tf_earlyticket.paper.item import register_item
from tf_earlyticket.paper.table1 import Table1
from tf_earlyticket.paper.table2 import Table2, Table3
from tf_earlyticket.paper.table4 import Table4
from tf_earlyticket.paper.table5 import Table5

# In the order of the paper.
for _item in (
    *(Fig1, Fig2, Fig3, Fig4, Fig5, Fig6, Fig8),
    *(Table1, Table2, Table3, Table4, Table5),
):
    register_item(_item(), own=True)
