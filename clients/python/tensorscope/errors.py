"""Errors of the client."""


class TensorscopeError(Exception):
    """The server could not be reached, or something was used wrongly."""


class ServerError(TensorscopeError):
    """The server answered with an error; `status`, `code` and `detail` are the server's own."""

    def __init__(self, status, code, detail):
        super().__init__(f"{status} {code}: {detail}")
        self.status, self.code, self.detail = status, code, detail
