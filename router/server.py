"""One server: start-up, the wait for a signal, and shutdown."""

import asyncio
import logging
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from router.addresses import PortAddresses, addresses_of, check_hosts
from router.call import Front, Handlers
from router.capacity import Capacity
from router.changes import Changes
from router.collection_store import CollectionStore
from router.collections import Collections
from router.control import ControlService
from router.data import DataService
from router.gpu import gpu_workers
from router.guard import admission, guarded
from router.index import Machinery
from router.index_ports import IndexPorts
from router.keyring import Keyring
from router.limits import LOCK_WAIT_SECONDS, SYNC_THREADS
from router.node import Node
from router.processes import Zygote
from router.rest.app import App
from router.settings import Settings
from router.tasks import Tasks
from router.tls import Certificates
from storage.catalog import Catalog
from storage.files import Files
from storage.lock import DataFolderLock

log = logging.getLogger("torpor.server")


class Server:
    """Everything that runs in the router process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = asyncio.Event()
        self._crash: BaseException | None = None

    @classmethod
    async def serve(cls, settings: Settings) -> None:
        """Makes a server and runs it."""
        await cls(settings).run()

    async def run(self) -> None:
        """Serves until SIGTERM or SIGINT; raises what went wrong, if it was our own mistake."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        data = _data_folder(self._settings.data)
        tasks = Tasks(self._crashed)
        with (
            DataFolderLock.acquire(data, LOCK_WAIT_SECONDS) as lock,
            ThreadPoolExecutor(SYNC_THREADS, "torpor-disk") as threads,
        ):
            zygote = Zygote(loop, lock.descriptor, self._settings.spare_workers)
            files = Files()
            catalog = Catalog.open(files, data)
            try:
                await zygote.start()
                machinery = Machinery(
                    data=data,
                    files=files,
                    zygote=zygote,
                    capacity=Capacity(
                        self._settings.workers_awake_max,
                        self._settings.memory_bytes_max,
                        gpu_workers(self._settings),
                    ),
                    builders=asyncio.Semaphore(max(1, (os.cpu_count() or 1) // 2)),
                    threads=threads,
                    changes=Changes(loop, threads),
                    loop=loop,
                    start_task=tasks.start,
                    idle_seconds=self._settings.idle_seconds,
                    exact_rows_max=self._settings.exact_rows_max,
                    # One more than cores would have to share one with another.
                    index_workers_max=min(
                        self._settings.index_workers_max, len(os.sched_getaffinity(0))
                    ),
                )
                await self._serve(catalog, machinery)
                await tasks.finish()
            finally:
                await zygote.stop()
                catalog.close()
        if self._crash is not None:
            raise self._crash

    async def _serve(self, catalog: Catalog, machinery: Machinery) -> None:
        settings = self._settings
        keys = Keyring(Path(settings.keys_file)) if settings.keys_file else None
        front = _front(settings)
        port = front.bind(settings.listen)
        addresses = addresses_of(settings, port)
        ports = IndexPorts(addresses, front) if isinstance(addresses, PortAddresses) else None
        node = Node(catalog, machinery, addresses.hosts_max, ports)
        store = CollectionStore(catalog, machinery, node)
        check_hosts(node.rows(), addresses)
        handlers: Handlers = {
            **ControlService(node, store, addresses, settings.idle_seconds).handlers(),
            **Collections(store).handlers(),
            **DataService(node, addresses, catalog.page_key()).handlers(),
        }
        if keys is not None:
            handlers = guarded(handlers, keys)
        application = App(handlers, None if keys is None else admission(keys))
        try:
            await front.start(handlers, application)
            if ports is not None:
                await ports.open_all(node.rows())
            host = settings.listen.rpartition(":")[0]
            for warning in settings.warnings():
                log.warning("settings warning=%s", warning)
            node.start()
            log.info("listening address=%s:%d indexes=%d", host, port, len(node))
            print(f"torpor is listening on {host}:{port}", flush=True)
            await self._stop.wait()
        finally:
            log.info("stopping")
            await front.stop()
            await node.stop()

    def _crashed(self, error: BaseException) -> None:
        log.critical("crashed", exc_info=error)
        self._crash = error
        self._stop.set()


def _data_folder(path: str) -> Path:
    folder = Path(path).resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _front(settings: Settings) -> Front:
    # Imported only now, after the zygote was started from a process without threads.
    if settings.front == "grpcio":
        from router.front_grpcio import GrpcioFront

        return GrpcioFront()
    from router.front_torpor import TorporFront

    if not settings.tls_certificate:
        return TorporFront()
    files = (settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
    return TorporFront(Certificates(*files))
