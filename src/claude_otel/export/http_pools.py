"""Connections that stay open for the next request, and their end."""

import requests
from requests.adapters import HTTPAdapter


def close_pools(session: requests.Session) -> None:
    """Close the session's connections now.

    `Session.close()` only lets go of its pools (requests 2.34, urllib3 2.7): their sockets are
    closed by finalizers, which no longer run once a program ends.
    """
    for adapter in session.adapters.values():
        if not isinstance(adapter, HTTPAdapter):
            continue
        for manager in (adapter.poolmanager, *adapter.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118  # no mapping
                pool = manager.pools.get(key)
                if pool is not None:
                    pool.close()
