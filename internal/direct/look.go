package direct

// Looker looks at files again and again, by their paths. As with a File, a call that
// took long sends those that follow the ordinary way for a while. Several goroutines
// may use it; its zero value is ready.
type Looker struct{ looker }
