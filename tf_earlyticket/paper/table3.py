"""Table 3: one-shot and gradual tickets of ResNet18 on ImageNet."""

from tf_earlyticket.paper import recipes
from tf_earlyticket.paper.item import register_item
from tf_earlyticket.paper.table2 import Table2


class Table3(Table2):
    """As Table 2, on ImageNet."""

    name = "table3"
    grids = {
        # 45, 90, ... of 200 epochs: 20, 40, ... of the 90 that are trained here.
        "paper": {"mask_epochs": (45, 90, 100, 135), "rewind_epochs": (12,), "seeds": (0, 1, 2)},
        "smoke": Table2.grids["smoke"],
    }

    def config(self, scale):
        """ImageNet, which is far too large for a machine without accelerators."""
        return recipes.imagenet_recipe(scale)


register_item(Table3(), own=True)
