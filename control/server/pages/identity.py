"""Say how tokens of ServiceAccounts are verified: OpenID Connect discovery.

Source: https://openid.net/specs/openid-connect-discovery-1_0.html and KEP-1393.
"""

from control.api.base import encode
from control.server.state.server import ServerState
from control.server.wire.response import ApiResponse

_CONFIGURATION = "/.well-known/openid-configuration"
_KEYS = "/openid/v1/jwks"
IDENTITY = (_CONFIGURATION, _KEYS)
_KEY_SET = "application/jwk-set+json"


def identity(state: ServerState, path: str) -> ApiResponse | None:
    """Return the discovery document or the keys; None for other paths, or without tokens."""
    signer = state.tokens
    if signer is None:
        return None
    if path == _KEYS:
        keys = {"keys": [key.jwk() for key in signer.keys]}
        return ApiResponse(encode(keys), content_type=_KEY_SET)
    if path != _CONFIGURATION:
        return None
    config = state.config
    document = {
        "issuer": signer.issuer,
        "jwks_uri": f"https://{config.advertise_address}:{config.port}{_KEYS}",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": sorted({key.algorithm for key in signer.keys}),
    }
    return ApiResponse(encode(document))
