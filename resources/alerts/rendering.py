"""An alert as a mail, as an Adaptive Card for Teams and as blocks for Slack. Nothing in it is markup."""

from __future__ import annotations

import html
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

from resources.alerts.failure import Alert
from resources.control import utc_now

_COLOURS = {"failed": "Attention", "again": "Warning", "resolved": "Good"}
_PREFIX = "[adfml]"


def build_text(alert: Alert) -> str:
    """As plain text."""
    parts = [alert.title + "."]
    if len(alert.subjects) > 1:
        parts.append("\n".join(f"- {subject}" for subject in alert.subjects))
    parts += [part for part in (alert.note, alert.error) if part]
    if alert.commands:
        parts.append("Try again, when the cause is mended:\n" + "\n".join(f"  {command}" for command in alert.commands))
    if alert.links:
        parts.append("\n".join(f"{name}: {address}" for name, address in alert.links))
    return "\n\n".join(parts)


def build_mail(
    alert: Alert, environment: str, sender: str, recipients: tuple[str, ...], message_id: str
) -> EmailMessage:
    """As a mail, plain and as HTML.

    Args:
        environment: where it happened, for the subject.
        message_id: the same whenever the same message is sent: a mailbox shows one that came twice once.
    """
    mail = EmailMessage()
    # A header is one line: a title that has several would be a header of its own.
    mail["Subject"] = " ".join(f"{_PREFIX} {environment}: {alert.title}".split())
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    mail["Date"] = format_datetime(utc_now())
    mail["Message-ID"] = f"<{message_id}@{sender.rpartition('@')[2].rstrip('>') or 'adfml'}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(build_text(alert))
    mail.add_alternative(_build_html(alert), subtype="html")
    return mail


def _build_html(alert: Alert) -> str:
    parts = [f"<p><strong>{html.escape(alert.title)}</strong></p>"]
    if len(alert.subjects) > 1:
        parts.append("<ul>" + "".join(f"<li>{html.escape(one)}</li>" for one in alert.subjects) + "</ul>")
    if alert.note:
        parts.append(f"<p>{html.escape(alert.note)}</p>")
    if alert.error:
        parts.append(f"<pre>{html.escape(alert.error)}</pre>")
    if alert.commands:
        listed = html.escape("\n".join(alert.commands))
        parts.append(f"<p>Try again, when the cause is mended:</p><pre>{listed}</pre>")
    links = [_build_link(name, address) for name, address in alert.links]
    return "\n".join([*parts, f"<p>{' · '.join(links)}</p>" if links else ""])


def _build_link(name: str, address: str) -> str:
    if not address.startswith(("https://", "http://")):
        return f"{html.escape(name)}: {html.escape(address)}"
    return f'<a href="{html.escape(address, quote=True)}">{html.escape(name)}</a>'


def build_card(alert: Alert, environment: str) -> dict[str, Any]:
    """As the message with an Adaptive Card that a Teams Workflows webhook takes."""
    # Text runs are shown as they are; a text block would be read as Markdown.
    body: list[dict[str, Any]] = [
        _build_run(f"{environment}: {alert.title}", weight="Bolder", color=_COLOURS[alert.occasion], size="Medium")
    ]
    if len(alert.subjects) > 1:
        body.append(_build_run("\n".join(alert.subjects)))
    body += [_build_run(part) for part in (alert.note,) if part]
    body += [_build_run(part, fontType="Monospace") for part in (alert.error, "\n".join(alert.commands)) if part]
    openable = [link for link in alert.links if link[1].startswith(("https://", "http://"))]
    body += [_build_run(f"{name}: {address}") for name, address in alert.links if (name, address) not in openable]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
        "actions": [{"type": "Action.OpenUrl", "title": name, "url": address} for name, address in openable],
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _build_run(text: str, **style: str) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, **style}]}


def build_slack(alert: Alert, environment: str) -> dict[str, Any]:
    """As what a Slack-style incoming webhook takes."""
    title = _escape_slack(f"{environment}: {alert.title}")
    parts = [f"*{title}*"]
    if len(alert.subjects) > 1:
        parts.append("\n".join(f"• {_escape_slack(one)}" for one in alert.subjects))
    parts += [_escape_slack(part) for part in (alert.note,) if part]
    parts += [f"```{_escape_slack(part)}```" for part in (alert.error, "\n".join(alert.commands)) if part]
    if alert.links:
        parts.append("  ".join(_link_slack(name, address) for name, address in alert.links))
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": part[:3_000]}} for part in parts]
    return {"text": title, "blocks": blocks}


def _link_slack(name: str, address: str) -> str:
    if not address.startswith(("https://", "http://")):
        return f"{name}: {_escape_slack(address)}"
    return f"<{_escape_slack(address).replace('|', '%7C')}|{name}>"


def _escape_slack(text: str) -> str:
    # What Slack reads as markup; a fence inside a text would end the one around it.
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("```", "'''")
