"""`ses`: mails through Amazon SES."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, defaults, path_part, transport
from divertor.rules.reading.options import Option, text, texts, urls

DECLARATION = AlerterDeclaration(
    "ses",
    (
        Option("ses_email", texts, required=True),
        Option("ses_from_addr", text, required=True),
        Option("ses_cc", texts, default=()),
        Option("ses_bcc", texts, default=()),
        Option("ses_email_reply_to", texts, default=()),
        *defaults("ses_email_from_field", "ses_email_add_domain"),
        *defaults("ses_aws_access_key_id", "ses_aws_secret_access_key", "ses_aws_profile"),
        Option("ses_aws_region", path_part),
        Option("ses_url", urls, default=()),
        *transport("ses"),
    ),
    resolved="a mail in the alarm's thread",
)
