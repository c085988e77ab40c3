"""aiosmtpd: takes mail for everybody but nobody@, and says what it took. The server speaks first."""

import asyncio
import hashlib
import ssl

from aiosmtpd.smtp import SMTP


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 there is nobody"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        digest = hashlib.sha256(envelope.content).hexdigest()
        secured = "sealed" if session.ssl else "open"
        return f"250 {len(envelope.content)} bytes, {digest}, {secured}, for {len(envelope.rcpt_tos)}"


async def main():
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain("/run/tls/cert.pem", "/run/tls/key.pem")

    def session():
        return SMTP(Handler(), hostname="smtp", tls_context=tls, data_size_limit=8 << 20)

    server = await asyncio.get_running_loop().create_server(session, None, 2525)
    await server.serve_forever()


asyncio.run(main())
