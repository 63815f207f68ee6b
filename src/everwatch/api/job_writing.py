"""Writes bulk jobs to their topic."""

from everwatch.api.job_records import AuditRun, BulkJob, JobRecord, Jobs, encoded, key_of
from everwatch.api.read_back import has_read
from everwatch.api.token_routes import RecordSender


class JobWriter:
    """Sends records of jobs. Every method raises BrokerUnavailable."""

    def __init__(self, records: RecordSender, topic: str, jobs: Jobs) -> None:
        self._records = records
        self._topic = topic
        self._jobs = jobs

    async def write(self, job: BulkJob | AuditRun) -> None:
        """Write a job, or a run of the audit, and wait for a moment until this process has read its record back."""
        before = self._jobs.held(job)
        await self.send(job)
        await has_read(lambda: self._jobs.held(job) is not before)

    async def send(self, record: JobRecord) -> None:
        """Write a record."""
        await self._records.send(self._topic, key_of(record), encoded(record))

    async def forget(self, job: BulkJob | AuditRun) -> None:
        """Delete a job and what its monitors refused it for, or a run of the audit."""
        errors = self._jobs.error_keys(job.job_id) if isinstance(job, BulkJob) else []
        for key in (*errors, key_of(job)):
            await self._records.send(self._topic, key, None)
