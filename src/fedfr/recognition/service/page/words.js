// Numbers in words that need no knowledge of statistics.

/** Return a share as a percentage with as many digits as it needs. */
export function percent(share) {
  const value = 100 * share;
  if (value === 0 || value >= 99.995) return `${Math.round(value)}\u00a0%`;
  const digits = value >= 9.995 ? 1 : value >= 0.1 ? 2 : Math.min(6, 1 - Math.floor(Math.log10(value)));
  return `${trimmed(value.toFixed(digits))}\u00a0%`;
}

/** Return a share as a percentage with one digit after the point: for measurements of few photos. */
export const roughly = (share) => `${trimmed((100 * share).toFixed(1))}\u00a0%`;

export const score = (value) => (value === null || value === undefined ? "–" : value.toFixed(2));

/** Return two scores with so many digits that they can be told apart, at most four. */
export function scores(one, other) {
  if (one === null || other === null) return [score(one), score(other)];
  const digits = [2, 3, 4].find((each) => one.toFixed(each) !== other.toFixed(each)) ?? 2;
  return [one.toFixed(digits), other.toFixed(digits)];
}

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

/** Return what the service promises about strangers. */
export function promise(passing) {
  const rarely = passing.upper95 > 0 ? Math.floor(1 / passing.upper95) : 0;
  const visit = passing.images > 1;
  return {
    headline: `At most ${percent(passing.upper95)} of strangers${rarely > 1 ? ` (1 in ${rarely})` : ""} pass${visit ? " in one visit" : ""}.`,
    detail:
      `Tested with ${count(passing.strangers, "stranger")} against ${count(passing.enrolled, "enrolled person", "enrolled people")}: ` +
      `${percent(passing.estimate)} passed${visit ? ` with one image; a visit is decided by up to ${passing.images}` : ""}. “At most” holds with 95\u00a0% certainty.`,
  };
}

const STRENGTHS = [[2, "hardly any"], [10, "weak"], [100, "moderate"], [1000, "moderately strong"], [10000, "strong"], [Infinity, "very strong"]];

/** Return in words what a log-likelihood ratio says. */
export function evidence(llr) {
  if (llr === null || llr === undefined) {
    return {
      headline: "Strength of the evidence: unknown.",
      detail: "It can be computed when enrolled people have two photos or more.",
    };
  }
  const times = Math.exp(Math.abs(llr));
  const strength = STRENGTHS.find(([most]) => times < most)[1];
  const side = llr >= 0 ? "an enrolled person" : "a stranger";
  const other = llr >= 0 ? "a stranger" : "an enrolled person";
  const often = times < 1.5 ? `about as often from ${side} as from ${other}` : `about ${rounded(times)} times as often from ${side} as from ${other}`;
  return {
    headline: `${strength.charAt(0).toUpperCase() + strength.slice(1)} evidence for ${side}.`,
    detail: `Such a score comes ${often}.`,
  };
}

function rounded(value) {
  if (value < 10) return trimmed(value.toFixed(1));
  const unit = 10 ** (Math.floor(Math.log10(value)) - 1);
  return (Math.round(value / unit) * unit).toLocaleString("en");
}

function trimmed(text) {
  return text.includes(".") ? text.replace(/0+$/, "").replace(/\.$/, "") : text;
}

const TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

/** Return a time of the service (UTC) as local time. */
export const localTime = (text) => shown(TIME, text);
export const localDay = (text) => shown(DAY, text);

function shown(format, text) {
  const time = new Date(/[zZ]|[+-]\d\d:?\d\d$/.test(text) ? text : `${text}Z`);
  return Number.isNaN(time.getTime()) ? text : format.format(time);
}

/** Return the smallest share of strangers that so many can prove. */
export const provable = (strangers) => (strangers > 0 ? 1 - 0.05 ** (1 / strangers) : 1);
