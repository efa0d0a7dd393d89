"""Pictures of a recording, for notebooks and static pages."""
