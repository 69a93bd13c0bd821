# SPDX-License-Identifier: Apache-2.0
"""An echo server made of Autobahn|Python: echo.py PORT"""

import asyncio
import sys

from autobahn.asyncio.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept


class Echo(WebSocketServerProtocol):
    def onMessage(self, payload, isBinary):
        self.sendMessage(payload, isBinary)


def accept(offers):
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer):
            return PerMessageDeflateOfferAccept(offer)


async def main(port):
    factory = WebSocketServerFactory()
    factory.protocol = Echo
    # What is wrong is answered with a close frame, and the text of the specification is followed to the letter.
    factory.setProtocolOptions(
        failByDrop=False, echoCloseCodeReason=True, perMessageCompressionAccept=accept, openHandshakeTimeout=60
    )
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", port)
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1])))
