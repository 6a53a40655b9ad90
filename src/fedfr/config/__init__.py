"""Settings of a run: the schema, its presets, and how YAML files and overrides are read."""
