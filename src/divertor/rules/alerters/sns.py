"""`sns`: notifications of an Amazon SNS topic."""

from __future__ import annotations

from divertor.rules.alerters.declaration import AlerterDeclaration, defaults, path_part, transport
from divertor.rules.reading.options import Option, text, urls

DECLARATION = AlerterDeclaration(
    "sns",
    (
        Option("sns_topic_arn", text, required=True),
        *defaults("sns_aws_access_key_id", "sns_aws_secret_access_key", "sns_aws_profile"),
        Option("sns_aws_region", path_part),
        Option("sns_url", urls, default=()),
        *transport("sns"),
    ),
    resolved="a message that says so",
)
