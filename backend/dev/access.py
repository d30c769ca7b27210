"""Who can connect to the embedded PostgreSQL: two roles, each with a random password.

`task_api` owns the database and is no superuser: the application and its migrations use it.
`postgres` is the superuser. The passwords are in a file in the data directory, which nobody but the
server's user can enter.
"""

import os
import secrets
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

from dev.programs import Programs

_RULES: Final = """\
# Written at each start: changes are lost.
host all all 127.0.0.1/32 scram-sha-256
"""

# The first version of this launcher let everybody in as the superuser, who owns the tables there.
# Here `task_api` becomes their owner, and gets the time limits that the superuser had.
_SET_UP: Final = """\
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'task_api') THEN
        CREATE ROLE task_api;
    END IF;
END $$;

ALTER ROLE task_api LOGIN NOSUPERUSER PASSWORD '{task_api}';

ALTER ROLE postgres PASSWORD '{postgres}';

ALTER DATABASE postgres OWNER TO task_api;

DO $$ DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT format('ALTER TABLE %s OWNER TO task_api', oid::regclass)
        FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
        UNION ALL
        SELECT format('ALTER TYPE %s OWNER TO task_api', oid::regtype)
        FROM pg_type
        WHERE typnamespace = 'public'::regnamespace AND typtype = 'e'
        UNION ALL
        SELECT format('ALTER ROLE task_api IN DATABASE postgres SET %s TO %L',
                      split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1))
        FROM pg_db_role_setting, unnest(setconfig) AS setting
        WHERE setrole = 'postgres'::regrole
    LOOP
        EXECUTE statement;
    END LOOP;
END $$;

"""


class Passwords(NamedTuple):
    """The password of each role."""

    task_api: str
    postgres: str


def set_up(programs: Programs, data: Path) -> Passwords:
    """Let the two roles connect and nobody else; return their passwords. No server may be running.

    Raises:
        LocalPostgresError: PostgreSQL has refused it.
    """
    programs.write(data / "pg_hba.conf", _RULES)
    file = data / "passwords"
    if file.exists():
        # If we are root, another user owns the directory, and could make the file a link.
        with open(file, opener=_open_no_link) as opened:
            return Passwords(*opened.read().split())
    passwords = Passwords(secrets.token_hex(32), secrets.token_hex(32))
    # Single-user mode needs no connection, so no other process can connect first.
    with programs.running(
        "postgres",
        data,
        *("--single", "-j"),
        *("-c", "exit_on_error=on", "-c", "log_min_error_statement=panic", "postgres"),
        stdin=subprocess.PIPE,
    ) as single:
        single.communicate(_SET_UP.format(**passwords._asdict()).encode())
        if single.returncode != 0:
            raise programs.failure("cannot set up the roles")
    programs.write(file, "\n".join(passwords))
    return passwords


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)
