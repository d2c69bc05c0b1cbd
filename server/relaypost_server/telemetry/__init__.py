"""What operators see: traces, metrics and logs. Every name they bear is defined here."""
