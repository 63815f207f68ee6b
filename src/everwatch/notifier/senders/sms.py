"""Text messages, by Twilio's API or what takes the same."""

import base64
import re
from dataclasses import replace
from urllib.parse import quote, urlencode

import msgspec

from everwatch.network.http_response import HttpResponse
from everwatch.notifier.addresses import SmsAddress
from everwatch.notifier.alerts import Message
from everwatch.notifier.senders.outcome import AttemptOutcome, Verdict
from everwatch.notifier.senders.post import Post
from everwatch.notifier.wording import lines_of, subject_of

# one part of a text in GSM's alphabet (up to 160), two of one in Unicode (67 each): each part is paid for
_LONGEST_SMS = 134
# what GSM's alphabet lacks would make the whole text Unicode
_IN_GSM = str.maketrans({"—": "-", "…": "..."})
# as Twilio makes them; a name may begin like one
_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")
# https://www.twilio.com/docs/api/errors: no number, not a mobile one, one that wants no texts (STOP); not what the
# account lacks, such as a permission for the region (21408)
_GONE = frozenset({21211, 21214, 21217, 21265, 21610, 21614})


class _Refusal(msgspec.Struct):
    code: int = 0


def sms_post_of(address: SmsAddress, message: Message) -> Post:
    """Return the request that hands ``message`` to the provider."""
    # https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource
    sender = "MessagingServiceSid" if _SERVICE.fullmatch(address.sender) else "From"
    form = {"To": address.to, sender: address.sender, "Body": sms_text_of(message)}
    login = base64.b64encode(f"{address.account}:{address.token}".encode()).decode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": f"Basic {login}"}
    url = f"{address.url.rstrip('/')}/2010-04-01/Accounts/{quote(address.account, safe='')}/Messages.json"
    return Post(url, headers, urlencode(form).encode(), is_final=True)


def sms_text_of(message: Message) -> str:
    """Return a message as one short text: what happened, and to what; the rest is in the console."""
    if message.code:
        how = f"open {message.link}" if message.link else f"code {message.code}"
        # a link that is cut short confirms nothing
        return f"Alerts of {message.user_id[:40]}: to confirm this number, {how}"
    first = subject_of(message)
    lines = lines_of(message, with_user=not message.user_id)
    text = "; ".join(lines if lines and lines[0].startswith(first) else [first, *lines]).translate(_IN_GSM)
    return text if len(text) <= _LONGEST_SMS else f"{text[: _LONGEST_SMS - 3]}..."


def sms_outcome(answer: HttpResponse, outcome: AttemptOutcome) -> AttemptOutcome:
    """Return what the provider's answer means: a number that takes no texts is gone, whatever the message."""
    if outcome.verdict is not Verdict.REFUSED:
        return outcome
    try:
        code = msgspec.json.decode(bytes(answer.body), type=_Refusal).code
    except msgspec.DecodeError:
        return outcome
    return replace(outcome, verdict=Verdict.GONE) if code in _GONE else outcome
