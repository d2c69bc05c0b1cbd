"""HTTP for people and monitors: health and metrics."""
