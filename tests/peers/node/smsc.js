// An SMSC made of the npm package `smpp`: answers submits with hexadecimal ids, sends receipts whose text has the id in
// decimal, then an inbound message. Prints the port it listens on. With KEY and CERT (files) it speaks TLS.
'use strict'
const fs = require('fs')
const smpp = require('smpp')

const { KEY, CERT } = process.env
const tls = KEY ? { key: fs.readFileSync(KEY), cert: fs.readFileSync(CERT) } : {}
let last = 0x3b9aca00

const server = smpp.createServer(tls, (session) => {
  session.on('error', () => session.close())
  session.on('bind_transceiver', (pdu) => {
    const known = pdu.system_id === 'budstikke' && pdu.password === 'secret'
    session.send(pdu.response({ command_status: known ? smpp.ESME_ROK : smpp.ESME_RBINDFAIL, system_id: 'node' }))
    if (!known) session.close()
  })
  session.on('enquire_link', (pdu) => session.send(pdu.response()))
  session.on('unbind', (pdu) => {
    session.send(pdu.response())
    session.close()
  })
  session.on('submit_sm', (pdu) => {
    const id = ++last
    session.send(pdu.response({ message_id: id.toString(16) }))
    const text = pdu.short_message.message.toString()
    session.deliver_sm({
      esm_class: smpp.ESM_CLASS.MC_DELIVERY_RECEIPT,
      source_addr: pdu.destination_addr,
      destination_addr: pdu.source_addr,
      short_message: `id:${id} sub:001 dlvrd:001 submit date:2601010000 done date:2601010000 stat:DELIVRD err:000 text:${text}`,
      receipted_message_id: id.toString(16),
      message_state: smpp.MESSAGE_STATE.DELIVERED
    }, (answer) => {
      // Told apart from the receipt by esm_class; says what became of it.
      session.deliver_sm({
        source_addr: pdu.destination_addr,
        destination_addr: pdu.source_addr,
        short_message: `receipt answered with ${answer.command_status}`
      })
    })
  })
})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
