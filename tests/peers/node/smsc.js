// An SMSC made of the npm package `smpp`: answers submits with hexadecimal ids in capitals, sends receipts whose text has the
// id in decimal and whose parameter has it in small letters, then an inbound message to 1204. Listens on PORT; says on
// standard error what it takes. With KEY and CERT (files) it speaks TLS.
'use strict'
const fs = require('fs')
const smpp = require('smpp')

const { PORT, KEY, CERT } = process.env
const tls = KEY ? { key: fs.readFileSync(KEY), cert: fs.readFileSync(CERT) } : {}
// Not the same ids again when it is started again.
let last = Date.now() * 256

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
    const { message, udh } = pdu.short_message
    const text = message.toString()
    const header = (udh || []).map((element) => element.toString('hex')).join('')
    // Parameters that are not in its tables have numbers for names.
    const unknown = Object.keys(pdu).filter((name) => /^\d+$/.test(name)).length
    const hex = id.toString(16)
    console.error(`submit_sm '${text}' with header ${header} and ${unknown} unknown parameters, and return message id ${hex}`)
    session.send(pdu.response({ message_id: hex.toUpperCase() }))
    session.deliver_sm({
      esm_class: smpp.ESM_CLASS.MC_DELIVERY_RECEIPT,
      source_addr: pdu.destination_addr,
      destination_addr: pdu.source_addr,
      short_message: `id:${id} sub:001 dlvrd:001 submit date:2601010000 done date:2601010000 stat:DELIVRD err:000 text:${text}`,
      receipted_message_id: hex,
      message_state: smpp.MESSAGE_STATE.DELIVERED
    }, (answer) => {
      session.deliver_sm({
        source_addr: pdu.destination_addr,
        destination_addr: '1204',
        short_message: `receipt answered with ${answer.command_status}`
      })
    })
  })
})
server.listen(Number(PORT), '127.0.0.1', () => console.error('listening'))
