"""The shop's side: takes webhooks on 127.0.0.1:18701, checks their signature, and acts once for each id."""

from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

SECRET = Webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
done: set[str] = set()  # in a database, in a shop that is started again now and then


class Shop(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            event = SECRET.verify(body, dict(self.headers.items()))
        except WebhookVerificationError as error:
            print(f"shop: refused, {error}", flush=True)
            self.answer(401)
            return
        # an event may come more than once (it is tried again if our answer gets lost), always with the same id
        if self.headers["webhook-id"] not in done:
            done.add(self.headers["webhook-id"])
            data = event["data"]
            print(f"shop: tell {data['user']} that {data['code']} expires in {data['days_left']} days", flush=True)
        self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""


HTTPServer(("127.0.0.1", 18701), Shop).serve_forever()
