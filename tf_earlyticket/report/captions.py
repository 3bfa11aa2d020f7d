"""What stands under each figure of the page of a run, by the figure's name."""

CAPTIONS = {
    "ppr": (
        "The probes. After each probed epoch a copy of the network is pruned at once to the final "
        "sparsity, retrained for a short while and measured on validation data, then thrown away. "
        "Compare Fig. 4 and 6 of the paper."
    ),
    "sparsity": (
        "Sparsity and validation accuracy over the run. Gradual pruning follows equation 6 of "
        "the paper, in steps."
    ),
    "layer_rates": (
        "How much of each layer would go if the network were pruned at once after the epoch; "
        "nothing is pruned, and no training is needed to know it. Compare Fig. 2b of the paper: "
        "once the rates settle, the layers' shares of the ticket are known."
    ),
    "mask_distance": (
        "How far the mask that pruning at once would give is from those of the epochs before: "
        "normalised Hamming distance, the share of weights that only one of both keeps. Early-Bird "
        "tickets (You et al., 2020) are drawn when five masks in a row are within the dotted "
        "line of each other. Unrelated masks of sparsity p differ in 2p(1 - p) of the weights. "
        "Compare Fig. 3 of the paper: equally good tickets can be far apart."
    ),
    "weight_std": (
        "How far the kept weights of each layer spread; pruning removes the small ones, so lines "
        "rise. Compare Fig. 2a of the paper, where nothing is pruned: once lines run in "
        "parallel, the layers' shares of the kept weights change little. Dashed: equation 5 of "
        "the paper, the shrinkage by weight decay alone, for stretches after the first drop of "
        "the learning rate (LR) in which neither it nor the mask changes."
    ),
    "layer_sparsity": (
        "How much of each layer the ticket does without. Compare the last epoch of Fig. 2b of the "
        "paper, where one ranking over all layers decides."
    ),
}
