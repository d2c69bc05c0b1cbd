"""How gateways reach one another beside the database."""
