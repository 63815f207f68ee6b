"""Starting the embedded Kafka from the command line, with a progress bar while its jars are fetched."""

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from everwatch.core.clock import Clock
from everwatch.core.config import Settings, java_environment
from everwatch.kafka.embedded import EmbeddedKafka, EmbeddedKafkaSettings, FetchProgress


def start_broker(settings: Settings, clock: Clock, console: Console | None = None) -> EmbeddedKafka:
    """Start the embedded Kafka of the data folder. Raises EmbeddedKafkaError, FolderInUse."""
    java_home, search_path = java_environment()
    embedded = EmbeddedKafkaSettings(
        folder=settings.kafka_folder,
        port=settings.kafka_port or None,
        cache_folder=settings.cache_dir,
        maven_repository=settings.maven_repository or None,
        java_home=java_home,
        search_path=search_path,
        heap_mb=settings.kafka_heap_mb,
    )
    bar = Progress(
        TextColumn("Fetching Kafka"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console or Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("jars", total=None, visible=False)

        def show(progress: FetchProgress) -> None:
            bar.update(task, completed=progress.done_bytes, total=progress.total_bytes, visible=True)

        broker = EmbeddedKafka(embedded, clock, show)
        broker.start()
    return broker
