// The conversations, in the browser's database.

const DATABASE = "tongwen";
const TABLE = "conversations";

// Resolves with what a request of the database finds.
const settled = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

// Conversations by id.  `failed` is called with the error when one cannot be kept.
export class Store {
  #database = null;
  #failed;

  constructor(failed) {
    this.#failed = failed;
  }

  // Open the database; false where the browser has none for us.
  async open() {
    try {
      const opening = indexedDB.open(DATABASE, 1);
      opening.onupgradeneeded = () => opening.result.createObjectStore(TABLE, { keyPath: "id" });
      this.#database = await settled(opening);
      return true;
    } catch {
      return false;
    }
  }

  async all() {
    if (!this.#database) return [];
    return settled(this.#table("readonly").getAll());
  }

  async put(conversation) {
    if (!this.#database) return;
    try {
      await this.#write((table) => table.put(conversation));
    } catch (error) {
      this.#failed(error);
    }
  }

  async remove(id) {
    if (this.#database) await this.#write((table) => table.delete(id));
  }

  // A full disk may show only when the transaction ends.
  #write(change) {
    return new Promise((resolve, reject) => {
      const transaction = this.#database.transaction(TABLE, "readwrite");
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error);
      change(transaction.objectStore(TABLE));
    });
  }

  #table(mode) {
    return this.#database.transaction(TABLE, mode).objectStore(TABLE);
  }
}
