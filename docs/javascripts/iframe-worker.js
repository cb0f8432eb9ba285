// The search of the site runs in a Worker, which browsers start for pages of a server only. For pages opened as files this
// stands in for it: the same script in a hidden frame. Material's plugin "offline" would fetch such a script from elsewhere.
if (location.protocol === "file:") {
  window.IFrameWorker = class IFrameWorker extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      this.frame.receive = data => {
        const event = new MessageEvent("message", { data })
        this.dispatchEvent(event)
        if (this.onmessage) this.onmessage(event)
      }
      this.ready = new Promise(done => { this.frame.onload = done })
      const load = "src => new Promise(done => document.head.append(Object.assign(document.createElement('script'), { src, onload: done })))"
      this.frame.srcdoc =
        `<script>window.postMessage = data => frameElement.receive(data);
        window.importScripts = (...all) => all.reduce((before, src) => before.then(() => (${load})(src)), Promise.resolve())</script>
        <script src="${url}"></script>`
      document.body.append(this.frame)
    }
    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })))
    }
    terminate() {
      this.frame.remove()
    }
  }
  window.Worker = window.IFrameWorker
}
