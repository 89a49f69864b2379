"""TLS to the agents of nodes, which every stream uses."""

import ssl

from control.server.state.server import ApiServerConfig
from control.server.wire import errors
from control.tls import CertificateError, load_authority, load_identity


def agent_tls(config: ApiServerConfig, *, unverified: bool = False) -> ssl.SSLContext:
    """Make a TLS context for requests to agents; raises StatusError (503).

    It is made anew for each session, so that renewed certificates are used.
    """
    if config.kubelet_client is None or config.client_ca is None:
        raise errors.unavailable(
            "the API server was started without --kubelet-client-cert, --kubelet-client-key and "
            "--client-ca: it cannot ask nodes for logs and streams"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        load_authority(context, config.client_ca)
        load_identity(context, *config.kubelet_client)
    except CertificateError as err:
        text = f"the API server cannot ask nodes for logs and streams: {err}"
        raise errors.unavailable(text) from err
    if unverified:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
