"""Tokens of clouds, hosting, databases and monitoring."""

from __future__ import annotations

from watchkeeper.redaction.rule import FILLER, Rule
from watchkeeper.redaction.token_rule import A_UUID, UUID, hexa, lower, mixed, token, upper
from watchkeeper.redaction.values import random_looking

CLOUDS: tuple[Rule, ...] = (
    token(
        "aws-access-key-id",
        "AKIA ASIA ABIA ACCA",
        rb"[A-Z0-9]{16}",
        b"IOSFODNN7EXAMPLE",
        b"AKIA is the prefix of a key, AKIAlowercase is none",
    ),
    token("aws-bedrock-key", "ABSK", rb"[A-Za-z0-9+/]{80,}={0,2}", mixed(124)),
    token(
        "aws-bedrock-short-key",
        "bedrock-api-key-",
        rb"[A-Za-z0-9+/=_-]{32,}",
        mixed(64),
        b"bedrock-api-key-name",
    ),
    token("google-api-key", "AIza", rb"[A-Za-z0-9_-]{35}", mixed(35), b"AIzawa lives here"),
    token("google-oauth-token", "ya29.", rb"[A-Za-z0-9_-]{30}", mixed(62), b"ya29.txt"),
    token(
        "google-refresh-token",
        "1//0",
        rb"[A-Za-z0-9_-]{40}",
        mixed(60),
        b"1//0 and 1//0comment",
        weigh=random_looking,
    ),
    token("google-client-secret", "GOCSPX-", rb"[A-Za-z0-9_-]{24}", mixed(28)),
    token("google-auth-key", "AQ.", rb"Ab[A-Za-z0-9_-]{30}", b"Ab8R" + mixed(46), b"AQ.About"),
    token(
        "azure-client-secret",
        "Q~",
        rb"[A-Za-z0-9_~.-]{31,34}",
        b"aB98Q~" + mixed(34),
        b"8Q~short",
        lead=(rb"[A-Za-z0-9_~.]{3}[0-9]", 4),
    ),
    token("alibaba-access-key-id", "LTAI", rb"(?=[A-Za-z]{0,15}[0-9])[A-Za-z0-9]{16,20}", mixed(20)),
    token("tencent-secret-id", "AKID", rb"[A-Za-z0-9]{32}", mixed(32)),
    token("yandex-cloud-key", "AQVN", rb"[A-Za-z0-9_-]{35}", mixed(36)),
    token("yandex-token", "y0_", rb"Ag[A-Za-z0-9_-]{50}", b"Ag" + mixed(53)),
    token("scaleway-access-key", "SCW", rb"(?=[A-Z]{0,16}[0-9])[A-Z0-9]{17}", upper(17)),
    token("digitalocean-token", "dop_v1_ doo_v1_ dor_v1_", rb"[0-9a-f]{64}", hexa(64)),
    token("cloudflare-origin-key", "v1.0-", rb"[0-9a-f]{24}-[0-9a-f]{146}", hexa(24) + b"-" + hexa(146)),
    token("cloudflare-token", "cfut_ cfat_ cfk_", rb"[A-Za-z0-9]{40}", mixed(48)),
    token("heroku-key", "HRKU-", rb"(?:AA[A-Za-z0-9_-]{58}|" + UUID + rb")", b"AA" + mixed(58)),
    token("flyio-token", "fo1_ fm1a_ fm1r_ fm1_ fm2_", rb"[A-Za-z0-9+/=_-]{40,}", mixed(43)),
    token("render-key", "rnd_", rb"(?=[A-Za-z]{0,27}[0-9])[A-Za-z0-9]{28,}", mixed(32)),
    token("vercel-token", "vcp_ vci_ vca_ vcr_ vck_", rb"[A-Za-z0-9]{24}", mixed(56)),
    token("netlify-token", "nfp_ nfc_ nfo_ nfb_ nfu_", rb"[A-Za-z0-9]{36}", mixed(36)),
)

DATABASES: tuple[Rule, ...] = (
    token("planetscale-token", "pscale_tkn_ pscale_pw_ pscale_oauth_", rb"[A-Za-z0-9._-]{32}", mixed(43)),
    token("supabase-key", "sbp_ sb_secret_", rb"[A-Za-z0-9_-]{31}", hexa(40)),
    token("neon-key", "napi_", rb"[a-z0-9]{60,}", lower(64)),
    token("aiven-password", "AVNS_", rb"[A-Za-z0-9_-]{19}", mixed(19)),
    token("cockroach-key", "CCDB1_", rb"[A-Za-z0-9]{22}_[A-Za-z0-9]{40}", mixed(22) + b"_" + mixed(40)),
    token("fauna-secret", "fnA", rb"[A-Za-z0-9_-]{37}", mixed(37), weigh=random_looking),
    token("xata-key", "xau_", rb"[A-Za-z0-9]{32}", mixed(36)),
    token("databricks-token", "dapi", rb"[0-9a-f]{32}", hexa(32), b"dapi" + hexa(20)),
    token("astra-token", "AstraCS:", rb"[A-Za-z0-9]{24}:[0-9a-f]{64}", mixed(24) + b":" + hexa(64)),
    token(
        "tinybird-token",
        "p.eyJ",
        rb"[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20}",
        mixed(60) + b"." + mixed(43),
        b"p.eyJmap",
    ),
)

MONITORING: tuple[Rule, ...] = (
    token("grafana-token", "glsa_ glc_", rb"[A-Za-z0-9+/=_]{32}[A-Za-z0-9+/=_]*+", mixed(32) + b"_3f9a1c07"),
    token("grafana-legacy-key", "eyJrIjoi", rb"[A-Za-z0-9+/]{60,}={0,3}", mixed(80)),
    token(
        "sentry-token", "sntrys_ sntryu_ sntrya_ sntryi_", rb"[A-Za-z0-9+/=_]{40}[A-Za-z0-9+/=_]*+", hexa(64)
    ),
    token(
        "new-relic-key",
        "NRAK- NRJS- NRII-",
        rb"(?:[A-Z0-9]{27}|[0-9a-f]{19}|[A-Za-z0-9_-]{32})",
        b"K2Q9" * 7,
        b"NRAK-KEY",
    ),
    token(
        "new-relic-license",
        "NRAL",
        rb"(?![A-Za-z0-9])",
        hexa(36) + b"NRAL",
        b"xNRAL",
        lead=(rb"[0-9a-zA-Z]{36}", 36),
    ),
    token(
        "dynatrace-token",
        "dt0c01. dt0s01. dt0s02. dt0s16.",
        rb"[A-Z0-9]{24}\.[A-Z0-9]{64}",
        upper(24) + b"." + upper(64),
    ),
    token("honeycomb-key", "hcaik_ hcbik_ hcamk_ hcalk_ hcxik_ hcxmk_", rb"[A-Za-z0-9]{32,}", lower(58)),
    token("honeybadger-token", "hbp_", rb"[A-Za-z0-9]{36}", mixed(36)),
    token("axiom-token", "xaat- xapt-", UUID, A_UUID),
    token("posthog-personal-key", "phx_", rb"[A-Za-z0-9]{43}", mixed(43)),
    token("posthog-secret-key", "phs_", rb"[A-Za-z0-9]{43}", mixed(43)),
    token("checkly-key", "cu_", rb"[0-9a-f]{32}", hexa(32)),
    token("logfire-token", "pylf_v1_", rb"(?:us|eu)_[A-Za-z0-9]{40,}", b"us_" + mixed(43)),
    token(
        "statsig-key",
        "secret-",
        rb"(?=[A-Za-z]{0,42}[0-9])[A-Za-z0-9]{40,}",
        mixed(43),
        b"secret-key-of-a-service-" + FILLER[:8],
    ),
)
