"""The objects that live as long as the server does, put together."""

from __future__ import annotations

from watchkeeper.client.token import ensure_token
from watchkeeper.server.answers import Answers
from watchkeeper.server.hook_intake import HookIntake
from watchkeeper.server.live import LiveHub
from watchkeeper.server.recorder_link import Notice, RecorderLink
from watchkeeper.server.signin import SignIns
from watchkeeper.settings import Settings

BROWSERS_FILE = "browsers.json"


class Service:
    """What the routes work with.

    Args:
        settings: Of the home.
        port: The TCP port that is listened on.

    Raises:
        ConfigError: The API token cannot be used.
    """

    def __init__(self, settings: Settings, port: int) -> None:
        places = settings.places
        self.port = port
        self.token = ensure_token(places)
        self.signins = SignIns(places.run / BROWSERS_FILE)
        self.link = RecorderLink(places.recorder_socket, self._notice, self._recorder_changed)
        self.answers = Answers(places, self.link)
        self.hub = LiveHub(self.answers)
        self.hooks = HookIntake(places)
        self.settings = settings

    def close(self) -> None:
        """Finish what was accepted and let go of the store."""
        self.hooks.close()
        self.answers.close()

    def _notice(self, notice: Notice) -> None:
        if notice.event == "changed":
            self.hub.changed(notice.sessions, notice.calls)
        elif notice.event == "status":
            self.hub.status_changed()

    def _recorder_changed(self, up: bool) -> None:
        if up:
            # What changed while nobody followed is not told again.
            self.hub.resume()
        else:
            self.hub.status_changed()
