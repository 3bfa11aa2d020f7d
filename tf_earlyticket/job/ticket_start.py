"""A run with `config.ticket`: training starts from a ticket that exists, instead of a search."""

from pathlib import Path

import numpy as np

from tf_earlyticket.backends import backend_of, pruned
from tf_earlyticket.job.run_state import REWIND_FILE, Run
from tf_earlyticket.job.weights_file import save_weights
from tf_earlyticket.tickets.rewind import rewind
from tf_earlyticket.tickets.ticket import Ticket


def adopt_ticket(run: Run) -> dict:
    """Makes the run's model the ticket of its config, also for other classes or channels.

    Unpruned layers whose shape depends on the data set (the classifier, the first convolution)
    are new where it differs.

    Returns:
        What a search returns, with no probe and no start epoch in it.

    Raises:
        InputError: If the ticket is damaged or of another network.
    """
    ticket = Ticket.load(run.config.ticket)
    adapter = pruned(run.model)
    adapter.prepare()
    present = backend_of(run.model).named_weights(run.model)
    with_masks = {name.rpartition("/")[0] for name in ticket.masks}
    new_layers = sorted(
        {
            name.rpartition("/")[0]
            for name, weight in ticket.rewind_weights.items()
            if name in present and np.shape(weight) != tuple(present[name].shape)
        }
        - with_masks
    )
    rewind(run.model, ticket, new_layers=new_layers)
    save_weights(run.paths.checkpoints / REWIND_FILE, adapter.all_weights())
    return {
        "probes": [],
        "probe_learning_rate": None,
        "probe_fraction": 0.0,
        "signals": {"epochs": [], "values": []},
        "start_epoch": None,
        "start_reason": f"no search: the ticket {Path(run.config.ticket)}"
        + (f", with new layers {', '.join(new_layers)}" if new_layers else ""),
        "detected": False,
        "updates": [],
        "weight_std": {"epochs": [], "layers": {}},
        "latest_start_epoch": None,
        "detector": "ticket",
        "schedule": None,
        "rows": [],
        "ticket": {"start_epoch": ticket.start_epoch, "rewind_epoch": ticket.rewind_epoch},
    }
