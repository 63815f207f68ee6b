"""Messages to chats that take plain text: Discord, Telegram and ntfy."""

from email.header import Header

import msgspec

from everwatch.notifier.addresses import DiscordAddress, NtfyAddress, TelegramAddress
from everwatch.notifier.alerts import RESOLVING, Message, Severity
from everwatch.notifier.senders.post import Post
from everwatch.notifier.wording import lines_of, subject_of

# characters; bytes for ntfy, which makes a file of a longer one
_LONGEST_DISCORD, _LONGEST_TELEGRAM, _LONGEST_NTFY = 2_000, 4_096, 4_000
_NTFY_PRIORITY = {Severity.INFO: "2", Severity.WARNING: "3", Severity.ERROR: "4", Severity.CRITICAL: "5"}
_json = msgspec.json.encode


def chat_post_of(address: DiscordAddress | TelegramAddress | NtfyAddress, message: Message) -> Post:
    """Return the request that hands ``message`` to a chat."""
    match address:
        case DiscordAddress():
            # https://discord.com/developers/docs/resources/webhook#execute-webhook; a name must not page @everyone
            body = {"content": _text(message)[:_LONGEST_DISCORD], "allowed_mentions": {"parse": []}}
            return Post(address.url, {}, _json(body), is_final=True)
        case TelegramAddress():
            # https://core.telegram.org/bots/api#sendmessage; without parse_mode the text is taken as it is
            sent = {
                "chat_id": address.chat_id,
                "text": _text(message)[:_LONGEST_TELEGRAM],
                "link_preview_options": {"is_disabled": True},
            }
            url = f"{address.url.rstrip('/')}/bot{address.token}/sendMessage"
            return Post(url, {}, _json(sent), is_final=True)
        case NtfyAddress():
            return _ntfy(address, message)


def _text(message: Message) -> str:
    return "\n".join([subject_of(message), *lines_of(message, with_user=not message.user_id)])


def _ntfy(address: NtfyAddress, message: Message) -> Post:
    # https://docs.ntfy.sh/publish/
    is_over = bool(message.alerts) and all(alert.kind in RESOLVING for alert in message.alerts)
    priorities = [_NTFY_PRIORITY[alert.severity] for alert in message.alerts if alert.kind not in RESOLVING]
    title = subject_of(message)
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        # RFC 2047, in one line
        "Title": title if title.isascii() else Header(title, "utf-8", maxlinelen=10_000).encode(),
        "Priority": max(priorities, default="3"),
        "Tags": "white_check_mark" if is_over else "rotating_light",
    }
    if address.token:
        headers["Authorization"] = f"Bearer {address.token}"
    text = "\n".join(lines_of(message, with_user=not message.user_id))
    return Post(address.url, headers, text.encode()[:_LONGEST_NTFY].decode(errors="ignore").encode(), is_final=True)
