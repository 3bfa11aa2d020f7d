"""From a trained ticket to what runs elsewhere."""
