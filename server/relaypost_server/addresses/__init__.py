"""Email addresses and phone numbers, checked and brought into one form."""
