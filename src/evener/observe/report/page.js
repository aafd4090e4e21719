"use strict"
// What the page can do beyond lying there: its theme, and its timelines. Charts are Bokeh's; this fills them.

const root = document.documentElement
const $ = (id) => document.getElementById(id)
const color = (name) => getComputedStyle(root).getPropertyValue(name).trim()

// Theme ------------------------------------------------------------------------------------------------------

const dark = matchMedia("(prefers-color-scheme: dark)")
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches)

function models() {
  return (window.Bokeh?.documents ?? []).flatMap((document) => document.roots())
}

function paint() {
  $("theme").textContent = isDark() ? "Light" : "Dark"
  const text = color("--quiet"), line = color("--line")
  for (const figure of models()) {
    for (const axis of [...figure.below, ...figure.left]) {
      axis.setv({major_label_text_color: text, axis_label_text_color: text})
    }
    for (const grid of figure.center) if ("grid_line_color" in grid) grid.grid_line_color = line
  }
}

$("theme").addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark"
  paint()
})
dark.addEventListener("change", paint)

// Timelines --------------------------------------------------------------------------------------------------

const QUADS = 50000 // rectangles drawn at most: more are slow to draw, and narrower than a pixel
const COLUMNS = ["lane", "start", "length", "code", "by", "ticket", "step", "version", "samples"]

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))
  return await new Response(stream).arrayBuffer()
}

const clock = (seconds) => `${seconds.toFixed(seconds < 100 ? 3 : 2)} s`
const plural = (number, thing) => `${number.toLocaleString("en")} ${thing}${number === 1 ? "" : "s"}`

class Timeline {
  constructor(number, data, figure) {
    Object.assign(this, {number, data, figure, chosen: null, single: null, bins: null})
    const named = (name) => figure.document.get_model_by_name(name + number)
    this.quads = named("quads")
    this.mark = named("mark")
    this.colors = data.states.map((state) => color("--" + state))
    // A finger that moves up or down scrolls the page; Bokeh would keep it.
    const canvas = window.Bokeh.index.find_one?.(figure)?.canvas?.events_el
    if (canvas) canvas.style.touchAction = "pan-y"
    for (const button of document.querySelectorAll(`[data-timeline="${number}"] button`)) {
      button.addEventListener("click", () => this.press(button.dataset.do))
    }
  }

  async load() {
    const {data} = this
    this.bins = new Uint8Array(await unpack(data.bins))
    this.count = this.bins.length / Math.max(1, data.workers.length * data.states.length)
    this.draw()
    const all = new Int32Array(await unpack(data.intervals))
    const single = {}
    COLUMNS.forEach((name, index) => {
      const column = all.subarray(index * data.count, (index + 1) * data.count)
      for (let i = 1; i < column.length; i++) column[i] += column[i - 1]
      single[name] = column
    })
    this.first = new Int32Array(data.workers.length + 1).fill(data.count)
    for (let i = data.count - 1; i >= 0; i--) this.first[single.lane[i]] = i
    for (let lane = data.workers.length - 1; lane >= 0; lane--) {
      this.first[lane] = Math.min(this.first[lane], this.first[lane + 1])
    }
    this.single = single
    this.draw()
    root.dataset.loaded = String(Number(root.dataset.loaded ?? 0) + 1)
  }

  // The first interval of a lane that ends after a time; the lane's end if there is none.
  after(lane, time) {
    const {start, length} = this.single, ticks = time / this.data.unit
    let low = this.first[lane], high = this.first[lane + 1]
    while (low < high) {
      const middle = (low + high) >> 1
      if (start[middle] + length[middle] <= ticks) low = middle + 1
      else high = middle
    }
    return low
  }

  begin(index) { return this.single.start[index] * this.data.unit }
  end(index) { return (this.single.start[index] + this.single.length[index]) * this.data.unit }
  state(index) { return this.data.codes[this.single.code[index]][0] }

  // Drawing: single intervals where there is room for them, else bins. What was not kept singly is always bins.
  draw() {
    const {figure, data} = this
    const from = figure.x_range.start, to = figure.x_range.end
    const out = {left: [], right: [], top: [], bottom: [], color: []}
    const lanes = data.workers.length, room = QUADS / Math.max(1, lanes)
    const columns = Math.max(40, Math.min(Math.floor((figure.inner_width || 600) / 2), Math.floor(room / 3)))
    this.seam = (to - from) / (figure.inner_width || 600)
    let singles = 0
    for (let lane = 0; lane < lanes; lane++) {
      const first = this.single ? this.after(lane, from) : 0
      let last = first
      if (this.single) {
        last = this.after(lane, to)
        if (last < this.first[lane + 1] && this.begin(last) < to) last++
      }
      if (this.single && last - first <= Math.min(room, 0.6 * columns)) {
        singles++
        let reached = from
        for (let i = first; i < last; i++) {
          if (this.begin(i) - reached > 2 * data.unit) this.rough(out, lane, reached, this.begin(i), columns, from, to)
          const left = Math.max(from, this.begin(i)), right = Math.min(to, this.end(i))
          // Where there is room, a gap of a pixel tells one ticket from the next.
          this.put(out, lane, left, right - (right - left > 10 * this.seam ? 2 * this.seam : 0), 0, 1, this.state(i))
          reached = this.end(i)
        }
        if (to - reached > 2 * data.unit) this.rough(out, lane, reached, to, columns, from, to)
      } else this.stack(out, lane, from, to, columns, first, last)
    }
    this.quads.data = out
    this.say(from, to, singles)
  }

  put(out, lane, left, right, low, high, state) {
    const bottom = lane + 0.92, height = 0.84 // the axis points down
    out.left.push(left)
    out.right.push(right + this.seam) // what comes next is drawn over it: no gap shows between them
    out.bottom.push(bottom - low * height)
    out.top.push(bottom - high * height)
    out.color.push(this.colors[state])
  }

  // Bins over a stretch of which nothing is known singly.
  rough(out, lane, left, right, columns, from, to) {
    if (this.data.complete) return // there is nothing: it was not here
    const share = Math.max(1, Math.round((columns * (right - left)) / (to - from)))
    this.stack(out, lane, left, right, share, 0, 0)
  }

  // The fraction of each state in equal bins from `from` to `to`: of single intervals where they are known.
  stack(out, lane, from, to, columns, first, last) {
    const {data} = this, kinds = data.states.length, width = (to - from) / columns
    const sums = new Float64Array(columns * kinds), known = new Float64Array(columns)
    for (let i = first; i < last; i++) {
      const state = this.state(i), stop = Math.min(to, this.end(i))
      let left = Math.max(from, this.begin(i))
      for (let bin = Math.floor((left - from) / width); bin < columns && left < stop; bin++) {
        const right = Math.min(stop, from + (bin + 1) * width)
        sums[bin * kinds + state] += right - left
        known[bin] += right - left
        left = right
      }
    }
    for (let bin = 0; bin < columns; bin++) {
      const left = from + bin * width
      if (known[bin] < 0.98 * width) this.average(lane, left, left + width, sums.subarray(bin * kinds, (bin + 1) * kinds))
      let low = 0
      for (let state = 0; state < kinds; state++) {
        const part = Math.min(1 - low, sums[bin * kinds + state] / width)
        if (part <= 0.004) continue
        this.put(out, lane, left, left + width, low, low + part, state)
        low += part
      }
    }
  }

  average(lane, left, right, sums) {
    const {data} = this, kinds = data.states.length
    sums.fill(0)
    const last = Math.min(this.count - 1, Math.floor(right / data.width))
    for (let bin = Math.max(0, Math.floor(left / data.width)); bin <= last; bin++) {
      const overlap = Math.min(right, (bin + 1) * data.width) - Math.max(left, bin * data.width)
      // The run's last bin is full only as far as the run goes.
      const full = Math.min(data.width, data.seconds - bin * data.width) / data.width
      for (let state = 0; state < kinds; state++) {
        const part = this.bins[(lane * kinds + state) * this.count + bin] / 255
        sums[state] += Math.max(0, overlap) * Math.min(1, part / Math.max(full, 1e-9))
      }
    }
  }

  say(from, to, singles) {
    const some = singles > 0 ? "averages where they are many" : "averages; zoom in to see single intervals"
    const what = singles === this.data.workers.length ? "single intervals" : some
    $("view" + this.number).textContent = `${clock(from)} to ${clock(to)}: ${what}`
  }

  moved() {
    if (this.waiting) return
    this.waiting = requestAnimationFrame(() => {
      this.waiting = null
      if (this.bins) this.draw()
    })
  }

  // Moving about.
  show(from, to) {
    const seconds = this.data.extent
    const span = Math.min(seconds, Math.max(to - from, 100 * this.data.unit))
    const start = Math.min(Math.max(0, from), seconds - span)
    this.figure.x_range.setv({start, end: start + span})
    this.moved()
  }

  zoom(factor, middle) {
    const {start, end} = this.figure.x_range
    const at = middle ?? (start + end) / 2
    this.show(at - (at - start) * factor, at + (end - at) * factor)
  }

  shift(part) {
    const {start, end} = this.figure.x_range
    this.show(start + part * (end - start), end + part * (end - start))
  }

  press(what) {
    if (what === "in") this.zoom(0.4)
    if (what === "out") this.zoom(2.5)
    if (what === "left") this.shift(-0.5)
    if (what === "right") this.shift(0.5)
    if (what === "all") this.show(0, this.data.extent)
    if (what === "steps") this.steps()
    if (what === "before" || what === "next") this.neighbour(what === "next" ? 1 : -1)
  }

  // So near that single intervals are wide: about twenty of a lane, where there are any.
  steps() {
    if (!this.single?.start.length) return
    const {start, end} = this.figure.x_range, middle = (start + end) / 2
    let best = null
    for (let lane = 0; lane < this.data.workers.length; lane++) {
      const index = Math.min(this.after(lane, middle), this.first[lane + 1] - 1)
      if (index < this.first[lane]) continue
      const last = Math.min(index + 20, this.first[lane + 1] - 1)
      const distance = Math.abs(this.begin(index) - middle), span = this.end(last) - this.begin(index)
      if (best === null || distance < best.distance || (distance === best.distance && span < best.span)) {
        best = {distance, span, from: this.begin(index)}
      }
    }
    if (best) this.show(best.from, best.from + best.span)
  }

  // What an interval was.
  tap(x, y) {
    const lane = Math.floor(y)
    if (lane < 0 || lane >= this.data.workers.length || x < 0 || x > this.data.seconds) return
    const index = this.single ? this.after(lane, x) : -1
    const found = index >= 0 && index < this.first[lane + 1] && this.begin(index) <= x
    if (found) this.choose(index)
    else this.unknown(lane, x)
  }

  neighbour(by) {
    if (this.chosen === null) return
    const lane = this.single.lane[this.chosen], index = this.chosen + by
    if (index < this.first[lane] || index >= this.first[lane + 1]) return
    this.choose(index)
    const {start, end} = this.figure.x_range
    const middle = (this.begin(index) + this.end(index)) / 2
    if (middle < start || middle > end) this.show(middle - (end - start) / 2, middle + (end - start) / 2)
  }

  choose(index) {
    const {single, data} = this
    const lane = single.lane[index], [state, why] = data.codes[single.code[index]], name = data.states[state]
    const cause = data.causes[single.code[index]]
    const seconds = single.length[index] * data.unit
    this.chosen = index
    this.mark.data = {left: [this.begin(index)], right: [this.end(index)], top: [lane + 0.06], bottom: [lane + 0.94]}
    const said = []
    const [ticket, step, version, samples, by] = ["ticket", "step", "version", "samples", "by"].map((key) => single[key][index])
    if (name === "computing" || cause === "slow") {
      said.push(`Ticket ${ticket} of step ${step}: ${plural(samples, "sample")}`)
      said.push(`on parameters of version ${version}`)
    } else if (name === "away") said.push(why ? `It had left: ${why}` : "It had left")
    else {
      const what = version >= 0 ? `version ${version}, for ticket ${ticket}` : `ticket ${ticket}`
      said.push(why[0].toUpperCase() + why.slice(1) + (ticket >= 0 ? ` (${what} of step ${step})` : ""))
      if (by >= 0) said.push(`worker ${by} held it up, which came last`)
    }
    if (cause === "slow") said.push(why)
    this.tell(lane, state, `${name} for ${duration(seconds)}`, `${clock(this.begin(index))} to ${clock(this.end(index))}`, said.join("; ") + ".")
    $("walk" + this.number).hidden = false
  }

  unknown(lane, x) {
    const {data} = this, kinds = data.states.length, sums = new Float64Array(kinds)
    this.chosen = null
    this.mark.data = {left: [], right: [], top: [], bottom: []}
    const left = Math.floor(x / data.width) * data.width
    this.average(lane, left, left + data.width, sums)
    const total = sums.reduce((a, b) => a + b, 0)
    const parts = data.states.map((state, i) => [sums[i] / total, state]).filter(([part]) => part >= 0.005)
    const text = total > 0 ? parts.map(([part, state]) => `${Math.round(100 * part)}% ${state}`).join(", ") + "." : "It was not here yet."
    this.tell(lane, null, "averages only", `${clock(left)} to ${clock(left + data.width)}`, text)
    $("walk" + this.number).hidden = true
  }

  tell(lane, state, what, when, text) {
    const box = $("detail" + this.number)
    const swatch = box.querySelector(".swatch")
    swatch.hidden = state === null
    if (state !== null) swatch.style.background = this.colors[state]
    box.querySelector("b").textContent = `Worker ${this.data.workers[lane]}: ${what}`
    box.querySelector(".when").textContent = when
    box.querySelector("p").textContent = text
  }
}

function duration(seconds) {
  if (seconds < 0.001) return `${(1e6 * seconds).toFixed(0)} µs`
  if (seconds < 1) return `${(1000 * seconds).toFixed(1)} ms`
  return `${seconds.toFixed(2)} s`
}

// Start ------------------------------------------------------------------------------------------------------

window.timelines = []

function begin() {
  const wanted = JSON.parse($("timelines").textContent)
  const found = wanted.map((_, number) => models().find((figure) => figure.name === "timeline" + number))
  if (models().length < Number(root.dataset.charts) || found.includes(undefined)) return void requestAnimationFrame(begin)
  paint()
  window.timelines = wanted.map((data, number) => new Timeline(number, data, found[number]))
  requestAnimationFrame(async () => {
    for (const timeline of window.timelines) await timeline.load()
    root.dataset.ready = "yes"
  })
}

paint()
begin()
