"""Pictures of the lessons, by topic."""
