"""All that callers leave with the gateway, put together: files, batches, jobs, and who does what is due."""

from starlette.routing import Route

from penstock.objects.keeper import Keeper
from penstock.server.app import App
from penstock.server.batch_work import BatchWorker
from penstock.server.batches_pages import batches_routes
from penstock.server.completions import CompletionWorker
from penstock.server.files_pages import Who, files_routes
from penstock.server.jobs import Jobs, JobWorker
from penstock.server.later import Later
from penstock.server.message_batches import message_batch_routes
from penstock.server.upload_sweep import UploadSweeper


class LaterDesk:
    """One process's desk. ``name`` is this run of it, never used again."""

    def __init__(self, app: App, keeper: Keeper, name: str) -> None:
        self._app = app
        self._completions = CompletionWorker(lambda: app.house.config.jobs, app.log)
        jobs = JobWorker(app)
        sweeper = UploadSweeper(lambda: app.house)
        workers = [jobs, BatchWorker(app), self._completions, sweeper]
        self._later = jobs.later = Later(keeper, name, app.log, workers)
        self._jobs = app.jobs = Jobs(app, self._later)

    def sign_with(self, key: bytes) -> None:
        """The key of the configuration in force."""
        self._completions.key = key

    def routes(self, who: Who) -> list[Route]:
        """Their pages."""
        return left_routes(self._app, self._later, self._jobs, who)

    def start(self) -> None:
        """Do what is due, from now on."""
        self._later.start()

    def stop_claiming(self) -> None:
        """This process will stop."""
        self._later.stop_claiming()

    async def aclose(self) -> None:
        """What still runs is given back."""
        await self._later.aclose()
        await self._completions.aclose()


def left_routes(app: App, later: Later, jobs: Jobs, who: Who) -> list[Route]:
    """All pages of what is left here."""
    return [
        *files_routes(lambda: app.house, who),
        *batches_routes(app, later, who),
        *message_batch_routes(app, later, who),
        *jobs.routes(who),
    ]
