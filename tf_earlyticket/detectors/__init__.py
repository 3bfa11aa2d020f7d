"""When pruning may start: decided online, from past probes and weights only."""

# Each enters its detectors in the registry.
from tf_earlyticket.detectors import ppr_saturation as ppr_saturation
from tf_earlyticket.detectors import weight_signals as weight_signals
