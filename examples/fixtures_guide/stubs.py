"""Stand-ins: a mail server that keeps mails in memory, a browser's driver that draws nothing."""

from __future__ import annotations


class MailServer:
    """Keeps mails by receiver."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.is_running = True
        self._mails: dict[str, list[str]] = {}

    def create_user(self, name: str) -> MailUser:
        self._mails[name] = []
        return MailUser(self, name)

    def delete_user(self, name: str) -> None:
        del self._mails[name]

    def users(self) -> list[str]:
        return list(self._mails)

    def put(self, receiver: str, text: str) -> None:
        self._mails[receiver].append(text)

    def mails(self, receiver: str) -> list[str]:
        return self._mails[receiver]

    def stop(self) -> None:
        self.is_running = False


class MailUser:
    """Sends and reads."""

    def __init__(self, server: MailServer, name: str) -> None:
        self._server = server
        self.name = name

    def send(self, text: str, receiver: MailUser) -> None:
        self._server.put(receiver.name, text)

    @property
    def inbox(self) -> list[str]:
        return self._server.mails(self.name)


class Driver:
    """Opens pages that say who is signed in."""

    def __init__(self) -> None:
        self.url = ""
        self.user = ""
        self.is_open = True

    def get(self, url: str) -> None:
        self.url = url

    def sign_in(self, user: str) -> None:
        self.user = user
        self.url = "/home"

    @property
    def header(self) -> str:
        return f"Welcome, {self.user}!"

    @property
    def buttons(self) -> list[str]:
        return ["sign out"]

    def quit(self) -> None:
        self.is_open = False
