"""One connection to a PostgreSQL server, for one thread at a time.

Owns: connecting, connecting again, the time-outs of a transaction and its unknown end, and what PostgreSQL's errors
mean here. Knows nothing of events. Laws: no setting outlives a transaction, since a pool in transaction mode hands out
another session each time, and for the same reason nothing is prepared where one stands between; whoever calls is
answered within what was allowed, also by a server that hangs.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
from psycopg import errors

from catalyst_signals.errors import (
    CatalystError,
    Fenced,
    InvalidRequest,
    Moved,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
)

T = TypeVar("T")
Connection = psycopg.Connection[tuple[Any, ...]]
Cursor = psycopg.Cursor[tuple[Any, ...]]

LOCK_MS = 5000  # For another process's commit.
STATEMENT_MS = 6000  # Longer than the wait for a lock. PostgreSQL does not count COMMIT as a statement here.
COMMIT_S = 4.0  # So long a standby is waited for; a wait that nobody ends would hold the heads for ever.
CANCEL_S = 60.0  # Whoever waits for it less long than the server hangs ends PgBouncer 1.18 and 1.19 (their issue 801).
PREPARED_FROM = 5  # Times a statement was asked before it is prepared: a fifth of a small commit is planning.
IDLE_MS = 2000  # A node that is cut off between its two round trips holds the heads no longer.
UNHEARD_MS = 5000

# The plans must not depend on statistics, which a table that has just begun to grow does not have: its keys are enough.
# What is left out counts as so dear that each statement would be compiled, hence no jit.
SETTINGS = """
SELECT set_config('lock_timeout', %s, true), set_config('statement_timeout', %s, true),
       set_config('idle_in_transaction_session_timeout', %s, true), set_config('tcp_user_timeout', %s, true),
       set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
       set_config('enable_sort', 'off', true), set_config('enable_hashjoin', 'off', true),
       set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true),
       set_config('synchronous_commit', CASE current_setting('synchronous_commit')
       WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true)
"""
NOBODY_FENCES = ", pg_advisory_xact_lock_shared(%s)"  # Behind the settings, so that they hold for the wait.
FENCE_LOCK = 0x4361_7461_6C79_7374  # "Catalyst": who changes something shares it, a fence has it alone.
WAITS = "current_setting('synchronous_standby_names') <> ''"
TIMELINE = "('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint"  # An error on a standby.
ABOUT = f"""
SELECT pg_is_in_recovery(), current_setting('fsync') = 'off', {WAITS},
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint < until_us, moved_to,
       CASE WHEN pg_is_in_recovery() THEN false ELSE timeline <> {TIMELINE} END, waits
FROM catalyst.fence
"""
NOTE_WAITS = f"UPDATE catalyst.fence SET waits = {WAITS}"


STANDBY = "this PostgreSQL server is a standby; give the URL of the primary, or of both"


class About:
    """The server as a transaction found it. `durability` is what a clean commit means there.

    `promoted`: it was a standby when the log was last changed; `waited`: commits waited for a standby then.
    """

    def __init__(
        self, standby: bool, unsynced: bool, follows: bool, fenced: bool, moved_to: str, promoted: bool, waited: bool
    ) -> None:  # fmt: skip
        self.read_only = standby
        self.promoted = promoted
        self.waited = waited
        self.waits = follows
        self.durability = "memory" if unsynced else "disk+standby" if follows else "disk"
        self.fenced = fenced
        self.moved_to = moved_to

    def check_changeable(self) -> None:
        """Pass, or raise StoreUnavailable, Moved or Fenced: nothing may be changed."""
        if self.read_only:
            raise StoreUnavailable(STANDBY)
        if self.moved_to:
            raise Moved(to=self.moved_to)
        if self.fenced:
            raise Fenced()


class Promoted(Exception):
    """Nothing was changed: promoted.py first."""


class Line:
    """A connection that comes back by itself."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._connection: Connection | None = None
        self._guard = threading.Lock()  # So that nobody cuts a descriptor that has become somebody else's.
        self._until_s: float | None = None
        self._ends_s = float("inf")
        self._commit_until_s: float | None = None
        self._was_cut = False
        self._committing = False
        self._warnings: list[str] = []

    def run(self, work: Callable[[Line], T], wait_s: float) -> T:
        """What `work` answers; after an error nothing of it is left on this connection.

        A connection that turns out to be dead before anything can have been committed is replaced once.

        Raises:
            StoreUnavailable: the server did not answer, or not in time; of a change the outcome is unknown.
            StoreFull: nothing was stored.
            StoreCorrupt: what stands there cannot have been written by us.
        """
        while True:
            known = self._connection is not None
            try:
                return self._run(work, wait_s)
            except psycopg.Error as error:
                self.close()
                if not (known and _is_of_the_connection(error) and not self._committing and not self._was_cut):
                    raise self._translated(error) from error
            except BaseException:
                self._roll_back()
                raise

    def _run(self, work: Callable[[Line], T], wait_s: float) -> T:
        self._committing = self._was_cut = False
        is_new = self._connection is None
        if is_new:
            self._connect()
        self._until_s = min(time.monotonic() + wait_s, self._ends_s)
        try:
            if is_new:
                self._prepare_if_direct()
            return work(self)
        finally:
            with self._guard:
                self._until_s = self._commit_until_s = None

    @property
    def connection(self) -> Connection:
        """For `work`, while it runs."""
        assert self._connection is not None
        return self._connection

    def _connect(self) -> None:
        self._connection = psycopg.connect(self._conninfo, autocommit=True, prepare_threshold=None)
        self._connection.add_notice_handler(self._note)

    def _prepare_if_direct(self) -> None:
        """Statements are prepared unless a pool stands between: it made up the process id that we were told."""
        (theirs,) = self.connection.execute("SELECT pg_backend_pid()").fetchone() or (None,)
        if theirs == self.connection.info.backend_pid:
            self.connection.prepare_threshold = PREPARED_FROM

    def _note(self, notice: errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            self._warnings.append(str(notice.message_primary))

    def hurry(self, within_s: float) -> None:
        """From another thread: what is under way has no longer than this, and nothing that comes later."""
        with self._guard:
            self._ends_s = time.monotonic() + within_s
            if self._until_s is not None:
                self._until_s = min(self._until_s, self._ends_s)

    def cut_if_late(self) -> None:
        """From another thread: end what took longer than was allowed; the thread that waits for it gets an error."""
        with self._guard:
            if self._connection is None or self._until_s is None or time.monotonic() < self._until_s:
                return
            self._was_cut = True
            with suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as end:
                end.shutdown(socket.SHUT_RDWR)

    @property
    def waits_too_long(self) -> bool:
        """Whether a commit should be told to wait no longer; said once."""
        with self._guard:
            if self._commit_until_s is None or time.monotonic() < self._commit_until_s:
                return False
            self._commit_until_s = None
            return True

    def cancel(self) -> None:
        """From another thread: what is under way ends, a commit with a warning. It may be over before this arrives."""
        connection = self._connection
        with suppress(psycopg.Error):
            if connection is not None:
                connection.cancel_safe(timeout=CANCEL_S)

    def close(self) -> None:
        """The next `run` connects anew."""
        with self._guard:
            connection, self._connection, self._until_s = self._connection, None, None
        if connection is not None:
            connection.close()

    def _roll_back(self) -> None:
        try:
            if self._connection is not None:
                self._connection.rollback()
        except psycopg.Error:
            self.close()

    def _translated(self, error: psycopg.Error) -> CatalystError:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if self._was_cut:
            reason = "it did not answer in time"
        if isinstance(error, errors.ReadOnlySqlTransaction):
            return StoreUnavailable(STANDBY)
        if isinstance(error, errors.DiskFull):
            return StoreFull()
        if isinstance(error, psycopg.IntegrityError):
            return StoreCorrupt(f"the log in PostgreSQL cannot be trusted ({reason}); run `catalyst verify` on it")
        if isinstance(error, psycopg.DataError):
            return InvalidRequest(f"PostgreSQL cannot keep this: {reason}")
        return StoreUnavailable(f"PostgreSQL: {reason}")

    # -- transactions -------------------------------------------------------------------------------------------

    def look(self, ask: Callable[[Connection], T]) -> tuple[About, T]:
        """What `ask`, which only sends statements, found in one snapshot: one round trip."""
        with self.connection.pipeline():
            self.connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            self.set_timeouts()
            about = self.connection.execute(ABOUT)
            asked = ask(self.connection)
            self.connection.execute("COMMIT")
        return _about(about), asked

    def begin(self, ask: Callable[[Connection], T], *, also_promoted: bool = False) -> tuple[About, T]:
        """A transaction has begun that may change something, and `ask` has sent its first statements: one round trip.

        Raises:
            StoreUnavailable: nothing may be changed here.
            Promoted: not yet, but for who does not touch what may be lacking.
        """
        with self.connection.pipeline():
            self.connection.execute("BEGIN")
            self.connection.execute(SETTINGS + NOBODY_FENCES, (*_timeouts(), FENCE_LOCK))
            asked = ask(self.connection)
            about = self.connection.execute(ABOUT)
        found = _about(about)
        found.check_changeable()
        if found.promoted and not also_promoted:
            raise Promoted
        if found.waited != found.waits and not found.promoted:  # Of a promoted one it is what tells what is lacking.
            self.connection.execute(NOTE_WAITS)
        return found, asked

    def commit(
        self, write: Callable[[Connection], T], before: About | None = None, within_s: float | None = None
    ) -> tuple[str, T]:  # fmt: skip
        """`write`'s statements and the commit in one round trip: how durable it is, and what `write` answered.

        What more than `disk` is, the server must say before and behind it; `before` is None where it was not asked.

        Raises:
            StoreUnavailable: the outcome is unknown; also where the wait for a standby was given up.
        """
        self._committing = True
        self._warnings.clear()
        self._commit_until_s = time.monotonic() + (within_s or COMMIT_S)
        with self.connection.pipeline():
            wrote = write(self.connection)
            done = self.connection.execute("COMMIT")
            after = self.connection.execute(ABOUT) if before is None or before.durability != "disk" else None
        if self._warnings or done.statusmessage != "COMMIT":
            reason = self._warnings[0] if self._warnings else str(done.statusmessage)
            raise StoreUnavailable(f"PostgreSQL did not confirm a commit: {reason}")
        reached = [before.durability] if before is not None else []
        if after is not None:
            reached.append(_about(after).durability)
        return min(reached, key=DURABILITIES.index), wrote

    def change(self, write: Callable[[Connection], T]) -> tuple[str, T]:
        """A whole transaction of statements that need nothing of what is there."""
        about, _ = self.begin(lambda _: None)
        return self.commit(write, about)

    def set_timeouts(self) -> None:
        """For the transaction that has just begun, and that it is as durable as it can be."""
        self.connection.execute(SETTINGS, _timeouts())


def _timeouts() -> tuple[str, ...]:
    return tuple(map(str, (LOCK_MS, STATEMENT_MS, IDLE_MS, UNHEARD_MS)))


DURABILITIES = ("memory", "disk", "disk+standby")


def _about(cursor: Cursor) -> About:
    row = cursor.fetchone()
    if row is None:
        raise StoreCorrupt("the table catalyst.fence has lost its row")
    return About(*row)


def _is_of_the_connection(error: psycopg.Error) -> bool:
    """Whether another connection may do better: this one has ended, or its server is going down."""
    return isinstance(error, psycopg.OperationalError) and (error.sqlstate or "08").startswith(("08", "57P"))
