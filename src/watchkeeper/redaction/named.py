"""Services whose keys have no prefix of their own: known by a name that mentions them and the value's format."""

from __future__ import annotations

from watchkeeper.redaction.rule import Rule
from watchkeeper.redaction.token_rule import A_UUID, UUID, digits, hexa, lower, mixed, upper

_HEX = rb"[0-9a-fA-F]"
_ANY = rb"[A-Za-z0-9]"
_WIDE = rb"[A-Za-z0-9_-]"


def _named(name: str, words: str, value: bytes, example: bytes) -> Rule:
    """Return the rule for values of names that hold one of the words."""
    first = words.split("|")[0].encode()
    return Rule(
        name=name,
        names=words.encode(),
        value=value,
        positive=b'{"stdout":"PORT=80\\n' + first.upper() + b"_API_KEY=" + example + b'\\nA=b"}',
        secret=example,
        negative=b'{"stdout":"'
        + first.upper()
        + b"_API_KEY=$KEY\\n"
        + first
        + b"_key_id = '"
        + example
        + b"'\"}",
    )


NAMED: tuple[Rule, ...] = (
    Rule(
        name="aws-secret-key",
        names=rb"aws_?(?:secret|session)|secretaccesskey|secret_access_key",
        value=rb"[A-Za-z0-9+/=]{16,}",
        positive=b'{"content":"[default]\\naws_secret_access_key = ' + mixed(40) + b'\\nregion = eu"}',
        secret=mixed(40),
        negative=b'{"content":"aws_secret_access_key = ${SECRET}, aws_session_token: none"}',
    ),
    Rule(
        name="azure-storage-key",
        names=rb"accountkey|storage.*key|sharedaccesskey",
        value=rb"[A-Za-z0-9+/]{40,}={0,2}",
        positive=b'{"content":"AccountName=shop;AccountKey='
        + mixed(62)
        + mixed(24)
        + b'==;EndpointSuffix=core"}',
        secret=mixed(62) + mixed(24),
        negative=b'{"content":"AccountName=shop;AccountKey=<key>;EndpointSuffix=core.windows.net"}',
    ),
    _named(
        "azure-key",
        "azure|cognitive|ocp-apim",
        rb"(?:[0-9a-f]{32}|[A-Za-z0-9]{84}|[A-Za-z0-9~._-]{34,44})",
        hexa(32),
    ),
    _named("cloudflare-key", "cloudflare|^cf_", rb"(?:[0-9a-f]{37}|[A-Za-z0-9_-]{40})", mixed(40)),
    _named("datadog-key", "datadog|^dd_", rb"(?:[0-9a-f]{32}|[0-9a-f]{40})", hexa(32)),
    _named("heroku-uuid-key", "heroku", UUID, A_UUID),
    _named("hetzner-token", "hcloud|hetzner", rb"[A-Za-z0-9]{64}", mixed(64)),
    _named("linode-token", "linode", rb"[0-9a-f]{64}", hexa(64)),
    _named("vultr-key", "vultr", rb"[A-Z0-9]{36}", upper(36)),
    _named("algolia-key", "algolia", rb"[0-9a-f]{32}", hexa(32)),
    _named("twilio-auth-token", "twilio", rb"[0-9a-f]{32}", hexa(32)),
    _named("mailchimp-key", "mailchimp", rb"[0-9a-f]{32}-us[0-9]{1,2}", hexa(32) + b"-us12"),
    _named("postmark-token", "postmark", UUID, A_UUID),
    _named(
        "discord-token",
        "discord",
        rb"(?:[A-Za-z0-9_-]{23,28}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}|[A-Za-z0-9_-]{32})",
        mixed(32),
    ),
    _named("cohere-key", "cohere|^co_", rb"[A-Za-z0-9]{40}", mixed(40)),
    _named("mistral-key", "mistral", rb"[A-Za-z0-9]{32}", mixed(32)),
    _named("deepgram-key", "deepgram", rb"[0-9a-f]{40}", hexa(40)),
    _named("assemblyai-key", "assemblyai|assembly_ai", rb"[0-9a-f]{32}", hexa(32)),
    _named("serper-key", "serper|serpapi", rb"[0-9a-f]{40,64}", hexa(64)),
    _named("exa-key", "^exa_", UUID, A_UUID),
    _named("zhipu-key", "zhipu|glm_|zai_", rb"[0-9a-f]{32}\.[A-Za-z0-9]{16}", hexa(32) + b"." + mixed(16)),
    _named("codecov-token", "codecov", UUID, A_UUID),
    _named("snyk-token", "snyk", UUID, A_UUID),
    _named("railway-token", "railway", UUID, A_UUID),
    _named("travis-token", "travis", rb"[A-Za-z0-9_-]{20,22}", mixed(22)),
    _named("jenkins-token", "jenkins", rb"11[0-9a-f]{32}", b"11" + hexa(32)),
    _named("consul-token", "consul|nomad", UUID, A_UUID),
    _named("bitbucket-secret", "bitbucket", rb"[A-Za-z0-9_=-]{20,64}", mixed(32)),
    _named("rollbar-token", "rollbar", rb"[0-9a-f]{32}", hexa(32)),
    _named("bugsnag-key", "bugsnag", rb"[0-9a-f]{32}", hexa(32)),
    _named("pagerduty-key", "pagerduty|pager_duty", rb"[A-Za-z0-9+_-]{20,32}", mixed(20)),
    _named("opsgenie-key", "opsgenie", UUID, A_UUID),
    _named("splunk-token", "splunk", UUID, A_UUID),
    _named("segment-key", "segment", rb"[A-Za-z0-9]{32}", mixed(32)),
    _named("mixpanel-secret", "mixpanel", rb"[0-9a-f]{32}", hexa(32)),
    _named("amplitude-key", "amplitude", rb"[0-9a-f]{32}", hexa(32)),
    _named("okta-token", "okta", rb"00[A-Za-z0-9_-]{38,40}", b"00" + mixed(40)),
    _named("auth0-secret", "auth0", rb"[A-Za-z0-9_-]{48,64}", mixed(64)),
    _named(
        "asana-token",
        "asana",
        rb"[0-9]/[0-9]{16}(?:/[0-9]{16})?:[0-9a-f]{32}",
        b"2/" + digits(16) + b":" + hexa(32),
    ),
    _named("trello-token", "trello", rb"(?:[0-9a-f]{32}|[0-9a-f]{64}|ATTA[A-Za-z0-9]{72})", hexa(64)),
    _named("dropbox-secret", "dropbox", rb"[a-z0-9]{15}", lower(15)),
    _named("spotify-secret", "spotify", rb"[0-9a-f]{32}", hexa(32)),
    _named("twitch-secret", "twitch", rb"[a-z0-9]{30}", lower(30)),
    _named("twitter-secret", "twitter", rb"[A-Za-z0-9%_-]{25,130}", mixed(50)),
    _named("rapidapi-key", "rapidapi", rb"[0-9a-f]{10}msh[0-9a-z]{37}", hexa(10) + b"msh" + lower(37)),
    _named("infura-key", "infura", rb"[0-9a-f]{32}", hexa(32)),
    _named("alchemy-key", "alchemy", rb"[A-Za-z0-9_-]{32}", mixed(32)),
    _named("etherscan-key", "etherscan", rb"[A-Z0-9]{34}", upper(34)),
    _named("coinbase-secret", "coinbase", rb"[A-Za-z0-9+/=_-]{32,}", mixed(64)),
    _named("binance-key", "binance", rb"[A-Za-z0-9]{64}", mixed(64)),
    _named("paypal-secret", "paypal", rb"E[A-Za-z0-9_-]{60,}", b"E" + mixed(79)),
    _named("openweather-key", "openweather", rb"[0-9a-f]{32}", hexa(32)),
    _named("upstash-token", "upstash", rb"A[A-Za-z0-9_=-]{30,}", b"AX" + mixed(60)),
    _named("influx-token", "influx", rb"[A-Za-z0-9_-]{86}==", mixed(62) + mixed(24) + b"=="),
    _named("elastic-key", "elastic", rb"[A-Za-z0-9_+/=-]{32,}", mixed(60)),
    _named("wandb-hex-key", "wandb", rb"[0-9a-f]{40}", hexa(40)),
    _named("fastly-token", "fastly", rb"[A-Za-z0-9_-]{32}", mixed(32)),
    _named("ngrok-token", "ngrok", rb"[A-Za-z0-9]{24,27}_[A-Za-z0-9]{20,24}", mixed(27) + b"_" + mixed(21)),
    _named("expo-token", "expo", rb"[A-Za-z0-9_-]{40}", mixed(40)),
    _named("weaviate-key", "weaviate", rb"[A-Za-z0-9]{36,}", mixed(36)),
    _named("nuget-key", "nuget", rb"oy2[a-z0-9]{43}", b"oy2" + lower(43)),
    _named("crates-io-token", "cargo|crates", rb"cio[A-Za-z0-9]{32}", b"cio" + mixed(32)),
    _named(
        "maxmind-key",
        "maxmind|geoip",
        rb"[A-Za-z0-9]{6}_[A-Za-z0-9]{29}_mmk",
        mixed(6) + b"_" + mixed(29) + b"_mmk",
    ),
    _named("clickhouse-secret", "clickhouse", rb"4b1d[A-Za-z0-9]{38}", b"4b1d" + mixed(38)),
    _named("databricks-oauth-secret", "databricks", rb"dose[0-9a-f]{32}", b"dose" + hexa(32)),
    Rule(
        name="wireguard-key",
        names=rb"^privatekey$|^presharedkey$",
        value=rb"[A-Za-z0-9+/]{43}=",
        positive=b'{"content":"[Interface]\\nPrivateKey = ' + mixed(43) + b'=\\nAddress = 10.0.0.2"}',
        secret=mixed(43) + b"=",
        negative=b'{"content":"[Peer]\\nPublicKey = ' + mixed(43) + b'=\\nAllowedIPs = 10.0.0.2"}',
    ),
)
