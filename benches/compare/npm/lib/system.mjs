// What a measured system implements; the workloads know nothing else of it. There is no code here, only the contract.

/**
 * @typedef {object} System
 * @property {string} name
 * @property {(options: {url: string, directory?: string}) => Promise<Client>} connect
 *     A client with a connection of its own and, given a directory, a local store in it if the system has one.
 */

/**
 * @typedef {object} Client
 * @property {(fields: object) => Promise<Document>} create
 *     A new document, made by one change that sets all fields. Need not be confirmed yet.
 * @property {(id: string) => Promise<Document>} open
 *     A document that the server has: resolves when all that the server has of it is here.
 * @property {() => Promise<void>} stored
 *     Resolves when everything that is here is in the local store too.
 * @property {() => Promise<void>} disconnect
 *     Closes the connections, keeps the documents, and does not connect again by itself.
 * @property {() => Promise<void>} reconnect
 *     Connects again: resolves when every document is known to be current.
 * @property {() => Promise<void>} close
 *     Lets go of everything that would keep the process alive.
 */

/**
 * @typedef {object} Document
 * @property {string} id
 * @property {(field: string) => unknown} get
 * @property {(field: string, value: unknown) => void} set one change
 * @property {() => Promise<void>} confirmed
 *     Resolves when the server has confirmed all changes made here so far, in the strongest sense that the system offers.
 * @property {(listener: () => void) => void} onChange
 *     Called in the event with which the system tells of a change: new values can be read then.
 */

export {};
