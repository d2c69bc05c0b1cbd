"""HTTP for people, monitors and providers: health, metrics, callbacks."""
