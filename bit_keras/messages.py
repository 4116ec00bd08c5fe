"""An error as what a terminal shows of it: one readable line."""

# Characters that are shown; names and values in a file may be pages long.
_LONGEST = 2000


def one_line(error: BaseException | str) -> str:
    """Returns the message of an error or warning, safe to print.

    What steers a terminal, and line breaks within names, is written as in
    Python's literals; a message of megabytes is cut.  Lines of a report, which
    begin with two spaces, remain lines.

    Example:

    >>> one_line(ValueError("there is no \\x1b[31mred.csv\\nin here"))
    'there is no \\\\x1b[31mred.csv\\\\nin here'
    >>> len(one_line(ValueError("x" * 10**6))) < 2100
    True
    """
    text = str(error).rstrip() or type(error).__name__
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}... ({len(text):,} characters)"
    lines = text.split("\n  ")
    return "\n  ".join("".join(map(_printable, line)) for line in lines)


def _printable(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]
