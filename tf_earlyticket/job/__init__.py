"""The main job: from a config to an exported ticket with its report, in phases that resume."""
