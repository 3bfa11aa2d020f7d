"""Fig. 6: PPR accuracy of every epoch for a deeper network."""

from tf_earlyticket.paper.fig4 import Fig4, ppr_saturates
from tf_earlyticket.paper.item import Claim, register_item


class Fig6(Fig4):
    """As Fig. 4 with ResNet56, at the small learning rate only."""

    name = "fig6"
    grids = {"paper": {"learning_rates": (0.01,)}}
    claims = (
        Claim(
            "PPR accuracy rises until about half of the epochs and then saturates", ppr_saturates
        ),
    )

    def config(self, scale):
        """As Fig. 4, with its network."""
        config = super().config(scale)
        if scale != "smoke":
            config.model.name = "resnet56"
        return config


register_item(Fig6(), own=True)
