"""The page about REST names the routes that there are."""

import re
from pathlib import Path

from router.rest.app import App
from router.rest.routes import BARE_HOSTS_PREFIX

PAGE = Path(__file__).parent.parent.parent / "docs" / "rest.md"


def test_the_page_about_rest_names_every_route_and_no_other() -> None:
    named = re.findall(r"^\| `([A-Z]+) (/\S*)` \|", PAGE.read_text(), re.MULTILINE)
    routes = App({}).routes.table()
    own = [
        (method, path) for method, path in routes if not path.startswith(f"{BARE_HOSTS_PREFIX}/")
    ]
    assert sorted(named) == sorted(own)


def test_the_control_plane_is_answered_below_the_second_base_path() -> None:
    routes = set(App({}).routes.table())
    control = {
        (method, path)
        for method, path in routes
        if re.match(r"/(indexes|collections|backups|restore-jobs|backup-schedules)\b", path)
    }
    below = {(method, path) for method, path in routes if path.startswith(f"{BARE_HOSTS_PREFIX}/")}
    assert below == {(method, BARE_HOSTS_PREFIX + path) for method, path in control}
