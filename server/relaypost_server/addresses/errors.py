"""What is raised where a text is no address."""


class AddressError(ValueError):
    """Why the text is no address; the reason never repeats the text."""
