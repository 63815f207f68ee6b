"""Addresses that hold a key, and the console's saved views, as the client asks for them."""

import msgspec

from everwatch.api.address_views import BadgeView, HookView, OperatorPages, OperatorPageView, StatusPageView
from everwatch.api.saved_view_types import SavedView, SavedViewBody, SavedViewList
from everwatch.client.api_calls import ApiCalls, decoded, monitor_place
from everwatch.client.requests import ApiRequest, place, read


class PageCalls(ApiCalls):
    """Calls about what is shown elsewhere: badges, status pages, metrics, webhooks and saved views."""

    async def badge(self, user_id: str, monitor_id: str) -> BadgeView:
        """Return the addresses of a monitor's badge."""
        return await self.get(monitor_place(user_id, monitor_id, "badge"), BadgeView, user_id=user_id)

    async def status_page(self, user_id: str) -> StatusPageView:
        """Return the addresses of a user's status page."""
        return await self.get(place("users", user_id, "status-page"), StatusPageView, user_id=user_id)

    async def status_pages(self) -> list[OperatorPageView]:
        """Return the status pages of operators."""
        return (await self.get("/v1/status-pages", OperatorPages)).items

    async def hook(self, user_id: str) -> HookView:
        """Return the address that takes webhooks for a user's monitors."""
        return await self.get(place("users", user_id, "hook"), HookView, user_id=user_id)

    async def user_metrics(self, user_id: str) -> str:
        """Return a user's monitors in Prometheus' text format."""
        answer = await self._transport.send(read(place("users", user_id, "metrics"), user_id=user_id))
        return answer.body.decode()

    async def saved_views(self) -> list[SavedView]:
        """Return the saved views that this client's token shares."""
        return (await self.get("/v1/views", SavedViewList)).items

    async def save_view(self, body: SavedViewBody) -> SavedView:
        """Save a view in place of the one of its page and name."""
        # once more it makes the same view
        sent = ApiRequest(method="PUT", path="/v1/views", body=msgspec.json.encode(body), is_repeatable=True)
        return decoded(await self._transport.send(sent), SavedView)

    async def delete_view(self, view_id: str) -> None:
        """Delete a saved view."""
        await self._transport.send(ApiRequest(method="DELETE", path=place("views", view_id)))
