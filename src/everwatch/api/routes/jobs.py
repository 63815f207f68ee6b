"""Routes of bulk jobs, and of runs of the tick audit."""

from everwatch.api.audit_run_views import AuditRunBody, AuditRunList, AuditRunView
from everwatch.api.audit_runs import AuditRunRoutes
from everwatch.api.job_views import JobBody, JobErrorsView, JobList, JobPreview, JobPreviewBody, JobView
from everwatch.api.jobs import JobRoutes
from everwatch.api.permissions import Permission, Reach, Scope
from everwatch.api.queries import ShortList
from everwatch.api.routes.parts import READ_LIST
from everwatch.api.routing import Example, Route


def job_routes(jobs: JobRoutes) -> list[Route]:
    """Return the routes of bulk jobs."""
    write = Permission(Scope.WRITE, Reach.NARROWED)
    return [
        Route(
            method="POST",
            path="/v1/jobs/preview",
            permission=READ_LIST,
            handler=jobs.preview,
            summary="Count the monitors that a bulk job would be about.",
            body=JobPreviewBody,
            answers={200: Example(JobPreview, "How many there are, and some of them.")},
            is_patient=True,
        ),
        Route(
            method="POST",
            path="/v1/jobs",
            permission=write,
            handler=jobs.create,
            summary="Pause, resume, run or delete in the background all monitors that a filter has, or some by name.",
            audited="job",
            body=JobBody,
            answers={202: Example(JobView, "It is kept, and carried out from now on.")},
            command=True,
        ),
        Route(
            method="GET",
            path="/v1/jobs",
            permission=READ_LIST,
            handler=jobs.list,
            summary="List bulk jobs.",
            query=ShortList,
            answers={200: Example(JobList, "The jobs, the latest first.")},
        ),
        Route(
            method="GET",
            path="/v1/jobs/{job_id}",
            permission=READ_LIST,
            handler=jobs.get,
            summary="Show a bulk job and how far it has come.",
            answers={200: Example(JobView, "The job.")},
        ),
        Route(
            method="GET",
            path="/v1/jobs/{job_id}/errors",
            permission=READ_LIST,
            handler=jobs.errors,
            summary="List the monitors that refused a bulk job's command.",
            answers={200: Example(JobErrorsView, "The monitors, and why.")},
        ),
        Route(
            method="DELETE",
            path="/v1/jobs/{job_id}",
            permission=write,
            handler=jobs.cancel,
            summary="Stop a bulk job; what it has done stays.",
            audited="cancel_job",
            answers={204: Example(None, "It goes no further.")},
            refusals=(409,),
        ),
    ]


def audit_run_routes(runs: AuditRunRoutes) -> list[Route]:
    """Return the routes of runs of the tick audit."""
    audits = Permission(Scope.AUDIT, Reach.WHOLE)
    return [
        Route(
            method="POST",
            path="/v1/audit/runs",
            permission=audits,
            handler=runs.create,
            summary="Look in the background whether every tick that was due ran, once each.",
            audited="audit_run",
            body=AuditRunBody,
            answers={202: Example(AuditRunView, "The run; its Location says how far it has come.")},
            command=True,
        ),
        Route(
            method="GET",
            path="/v1/audit/runs",
            permission=audits,
            handler=runs.list,
            summary="List runs of the tick audit.",
            answers={200: Example(AuditRunList, "The runs, the latest first.")},
        ),
        Route(
            method="GET",
            path="/v1/audit/runs/{run_id}",
            permission=audits,
            handler=runs.get,
            summary="Show a run of the tick audit, with its report once it is done.",
            answers={200: Example(AuditRunView, "The run.")},
        ),
    ]
